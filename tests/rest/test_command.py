"""`brainmets rest`, from the command line to Ctrl-C."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from brainmets.client import AsyncClient
from brainmets.client.commands import app
from brainmets.client.endings import ExitCode
from brainmets.client.installed_commands import installed_command
from brainmets.rest.app import build_app
from brainmets.rest.command import rest
from entry_points import find_commands
from free_addresses import free_addresses
from gateway_bench import study_bytes
from rest_bench import running_backend
from terminal import CTRL_C, terminal

WRONG_USAGE = 2
# Beyond what anybody waits for.
GRACE = "from brainmets.rest import command; command._GRACE_S *= 60"
T1C = ("files", ("t1c.nii.gz", study_bytes()))


@contextmanager
def silent_service() -> Iterator[str]:
    """Listen as a service that never answers, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def is_served(address: str) -> bool:
    """Return whether something listens at an address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def paths_below(folder: Path) -> list[Path]:
    """Return what lies in a folder, however deep: a study on its way is a folder with its files."""
    return list(folder.rglob("*"))


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the command here, and in what is started from here."""
    find_commands(monkeypatch, tmp_path / "site")


def test_the_client_finds_it() -> None:
    """By the entry point."""
    assert installed_command("rest") is rest


def test_it_answers_until_it_is_interrupted() -> None:
    """With the bound and the service that it was told; then it ends in order."""
    listen, nobody = free_addresses(2)
    with terminal("rest", "--listen", listen, "--address", nobody, "--max-study-bytes", "10") as command:
        command.wait_for("Listening")
        files = [("files", b"0123456789")]
        answer = httpx.post(f"http://{listen}/v1/studies", files=files, timeout=60.0, trust_env=False)
        assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        command.press(CTRL_C)
        assert command.wait() == ExitCode.OK
        assert "Stopped" in command.shown
        assert "Traceback" not in command.shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_an_upload(spool: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """At once, in words, and nothing of it stays. The service that it goes to never answers."""
    monkeypatch.setenv("TMPDIR", str(spool))
    (listen,) = free_addresses()
    given = ("rest", "--listen", listen)
    with silent_service() as silent, terminal(*given, "--address", silent, before=GRACE) as command:
        command.wait_for("Listening")
        with ThreadPoolExecutor() as threads:
            sent = threads.submit(httpx.post, f"http://{listen}/v1/studies", files=[T1C], timeout=60.0, trust_env=False)
            while len(paths_below(spool)) < 2:
                time.sleep(0.02)
            command.command.send_signal(number)
            # Two that come before the first was taken are one.
            while is_served(listen):
                time.sleep(0.02)
            command.command.send_signal(number)
            assert command.wait() == ExitCode.OK
        assert sent.result().status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "Stopped" in command.shown
        assert "Traceback" not in command.shown
    assert not paths_below(spool)


async def test_an_upload_that_takes_too_long_is_cut_short(
    spool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sender is told, nothing of it stays, and no traceback is written."""
    monkeypatch.setattr("brainmets.rest.command._GRACE_S", 0.2)
    with silent_service() as silent:
        async with running_backend(silent) as http:
            sending = asyncio.create_task(http.post("/v1/studies", files=[T1C]))
            async with asyncio.timeout(30.0):
                while len(paths_below(spool)) < 2:
                    await http.get("/openapi.json")
    assert (await sending).json()["reason"] == "SERVICE_UNAVAILABLE"
    assert not paths_below(spool)
    assert not caplog.records


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_it_is_called_by_the_name_under_which_it_listens(host: str) -> None:
    """And by those of this machine, but by no other."""
    async with AsyncClient() as client:
        transport = httpx.ASGITransport(build_app(client, host=host, max_study_bytes=1))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as http:
            for name in (f"{host}:8080", "localhost:1"):
                assert (await http.get("/openapi.json", headers={"Host": name})).status_code == httpx.codes.OK
            refused = await http.get("/openapi.json", headers={"Host": "rebound.example"})
    assert refused.status_code == refused.json()["status"] == httpx.codes.BAD_REQUEST
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert host in refused.json()["detail"]


def test_a_place_that_is_taken_is_told() -> None:
    """Before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["rest", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"])
    assert result.exit_code == WRONG_USAGE
    assert "nothing listens" in " ".join(result.stderr.replace("│", " ").split())
