"""`brainmets app`, from the command line to Ctrl-C."""

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from brainmets.client.commands import app as command_line
from brainmets.client.endings import ExitCode
from brainmets.client.installed_commands import installed_command
from brainmets.webapp.command import app
from entry_points import find_commands
from free_addresses import free_addresses
from terminal import CTRL_C, terminal


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the command here, and in what is started from here."""
    find_commands(monkeypatch, tmp_path / "site")


def test_the_client_finds_it() -> None:
    """By the entry point."""
    assert installed_command("app") is app


def test_it_is_served_where_it_was_told_until_it_is_interrupted() -> None:
    """By Streamlit, which asks nothing and tells nobody; then it ends in order."""
    (listen,) = free_addresses()
    with terminal("app", "--listen", listen) as command:
        command.wait_for(listen)
        assert "Traceback" not in command.shown
        answer = httpx.get(f"http://{listen}/", timeout=60.0, trust_env=False)
        assert answer.status_code == httpx.codes.OK
        command.press(CTRL_C)
        assert command.wait() == ExitCode.OK
        assert "Traceback" not in command.shown


def test_a_certificate_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    """Not to whoever opens the page."""
    result = CliRunner().invoke(command_line, ["app", "--ca-file", str(tmp_path / "none.pem")])
    assert result.exit_code == ExitCode.FAILED
    assert "expected certificates" in result.stderr
