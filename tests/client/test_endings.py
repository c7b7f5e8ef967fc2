"""How a command ends: one sentence, an exit code, and what can be typed next."""

import asyncio
import errno
import socket
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from brainmets.client import aio
from brainmets.client.commands import app
from brainmets.client.endings import ExitCode, errors_end_the_command
from brainmets.client.errors import ResultsUnsavedError, StudyPathError
from brainmets.client.service_options import Service

ELSEWHERE = Service("gateway:1", ca_file=Path("our ca.pem"))


def end(error: BaseException) -> int:
    """Return the exit code of a command that calls another service than the default one and ends so."""
    with pytest.raises(typer.Exit) as caught, errors_end_the_command(Console(stderr=True, width=200), ELSEWHERE):
        raise error
    return caught.value.exit_code


def test_what_became_of_a_job_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a bound of the caller's has passed."""
    assert end(TimeoutError("no result within 900 s; job a is cancelled")) == ExitCode.UNREACHED
    assert "no result within 900 s; job a is cancelled" in capsys.readouterr().err


def test_a_file_system_that_is_too_slow_is_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    """Python has one error for both."""
    assert end(TimeoutError(errno.ETIMEDOUT, "Connection timed out")) == ExitCode.FAILED
    assert "expected a file that can be used" in capsys.readouterr().err


def test_results_that_could_not_be_written_can_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is named, and the command stands alone on its line, quoted, for the same service."""
    full = OSError(errno.ENOSPC, "No space left on device")
    assert end(ResultsUnsavedError(full, Path("my out"), job_id="a")) == ExitCode.FAILED
    sentence, command = capsys.readouterr().err.splitlines()
    assert sentence.endswith("got “No space left on device”: my out; once that is mended, fetch them with")
    assert command == "  brainmets fetch a --output 'my out' --address gateway:1 --ca-file 'our ca.pem'"


def test_a_file_name_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever names a file writes into the sentence about it."""
    assert end(StudyPathError("got x\x1b[31mRED\x07\n.foo")) == ExitCode.BAD_STUDY
    assert capsys.readouterr().err == "brainmets: got x [31mRED  .foo\n"
    full = OSError(errno.ENOSPC, "No space left on device")
    end(ResultsUnsavedError(full, Path("\x1b[31mout"), job_id="a"))
    assert "\x1b" not in capsys.readouterr().err


def test_what_goes_on_without_an_answer_is_listed_by_the_same_service(capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of an hour is more than a test can wait."""
    assert end(TimeoutError()) == ExitCode.UNREACHED
    assert capsys.readouterr().err.endswith("\n  brainmets jobs --address gateway:1 --ca-file 'our ca.pem'\n")


def test_the_default_service_is_named_where_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the command would call that one."""
    assert Service().command("jobs") == "brainmets jobs"
    monkeypatch.setenv("BRAINMETS_ADDRESS", "gateway:1")
    assert Service().command("jobs") == "brainmets jobs --address 127.0.0.1:8500"


async def test_a_service_that_hangs_was_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing."""
    monkeypatch.setattr(aio, "RECORD_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = await asyncio.to_thread(CliRunner().invoke, app, ["jobs", "--address", address])
    assert result.exit_code == ExitCode.UNREACHED
    assert "got no answer in time" in " ".join(result.stderr.split())
