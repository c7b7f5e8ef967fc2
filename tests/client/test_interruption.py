"""Ctrl-C in a terminal of 80 columns, against a running gateway: what is said, and what is left."""

import asyncio
import fcntl
import os
import pty
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from brainmets.client import AsyncClient, JobState
from brainmets.client.endings import ExitCode
from gateway_bench import GatewayBench, running_gateway

# The child takes the terminal for its own: Ctrl-C typed there reaches it as a signal, as in a shell.
CHILD = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from brainmets.client.commands import app; app()"
ROWS, COLUMNS = 24, 80
CTRL_C = b"\x03"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
TIMEOUT_S = 60.0
# Less than a command waits for a service that does not answer.
AT_ONCE_S = 5.0


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.command = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        """Everything that was written to it."""
        return self._shown.decode(errors="replace")

    def press(self, key: bytes) -> None:
        """Type a key."""
        os.write(self._screen, key)

    def wait_for(self, words: str) -> None:
        """Return once something is shown; meanwhile nothing else of this thread runs."""
        give_up_s = time.monotonic() + TIMEOUT_S
        while words not in self.shown:
            assert time.monotonic() < give_up_s, self.shown
            assert self.command.poll() is None, self.shown
            time.sleep(0.02)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Return the exit code, when everything is read."""
        code = self.command.wait(timeout_s)
        self._reader.join()
        return code

    def close(self) -> None:
        """Take the terminal away."""
        if self.command.poll() is None:
            self.command.kill()
            self.command.wait()
        self._reader.join()
        os.close(self._screen)

    def _read(self) -> None:
        while True:
            try:
                read = os.read(self._screen, 4096)
            except OSError:
                # Nobody holds the other end any more.
                return
            self._shown += read


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    """Run a command in a terminal while the block runs."""
    opened = Terminal(*words)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
async def idle(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway without a worker: a job waits until it is cancelled."""
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running:
            yield running


async def interrupt(command: Terminal, *, when: str) -> int:
    """Press Ctrl-C once something is shown, and return the exit code."""
    await asyncio.to_thread(command.wait_for, when)
    command.press(CTRL_C)
    return await asyncio.to_thread(command.wait)


async def states(bench: GatewayBench) -> list[JobState]:
    """Return the states of all jobs."""
    async with AsyncClient(bench.address) as client:
        return [job.state async for job in client.jobs()]


async def reach(bench: GatewayBench, expected: list[JobState]) -> None:
    """Return once all jobs are in these states."""
    async with asyncio.timeout(TIMEOUT_S):
        while await states(bench) != expected:  # noqa: ASYNC110 -- the jobs are another process's to change
            await asyncio.sleep(0.05)


def is_clean(shown: str) -> bool:
    """Return whether the cursor is there again, and nothing of Python's own was said."""
    plain = all(word not in shown for word in ("Traceback", "Task was destroyed", "Exception ignored"))
    return plain and shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR) >= 0


async def test_an_interrupted_segment_cancels_its_job_and_says_so(idle: GatewayBench, study: Path) -> None:
    """By its identifier, as the service has confirmed it."""
    with terminal("segment", str(study), "--address", idle.address) as command:
        assert await interrupt(command, when="Waiting for a worker") == ExitCode.INTERRUPTED
        assert "is cancelled" in command.shown
        assert is_clean(command.shown)
    assert await states(idle) == [JobState.CANCELLED]


async def test_a_second_interrupt_ends_at_once(idle: GatewayBench, study: Path) -> None:
    """Though the service does not answer; what to type later is told."""
    with terminal("segment", str(study), "--address", idle.address) as command:
        await asyncio.to_thread(command.wait_for, "Waiting for a worker")
        # From here on this thread, in which the service runs, does nothing else.
        command.press(CTRL_C)
        command.wait_for("Cancelling")
        command.press(CTRL_C)
        assert command.wait(AT_ONCE_S) == ExitCode.INTERRUPTED
        assert "may go on" in command.shown
        assert f"--address {idle.address}" in command.shown.rpartition("brainmets cancel ")[2]
        assert is_clean(command.shown)
    # Back again, it learns that its client has left.
    await reach(idle, [JobState.CANCELLED])


@pytest.mark.parametrize("name", ["watch", "fetch"])
async def test_a_job_that_is_only_followed_goes_on(idle: GatewayBench, study: Path, name: str) -> None:
    """And how to come back to it is told, so that it can be copied."""
    async with AsyncClient(idle.address) as client:
        job_id = (await client.submit(study)).job_id
    with terminal(name, job_id, "--address", idle.address) as command:
        assert await interrupt(command, when="Waiting for a worker") == ExitCode.INTERRUPTED
        assert f"brainmets watch {job_id} --address {idle.address}\r\n" in command.shown
        assert is_clean(command.shown)
    assert await states(idle) == [JobState.QUEUED]


async def test_an_interrupted_cohort_says_what_goes_on(idle: GatewayBench, study: Path, tmp_path: Path) -> None:
    """What was sent is not cancelled: the same command takes it up again."""
    shutil.copytree(study, tmp_path / "cohort" / "only")
    words = ("--all", str(tmp_path / "cohort"), "--output", str(tmp_path / "out"), "--address", idle.address)
    with terminal("submit", *words) as command:
        await reach(idle, [JobState.QUEUED])
        assert await interrupt(command, when="0/1") == ExitCode.INTERRUPTED
        assert "0 of 1 studies have ended" in command.shown
        assert is_clean(command.shown)
    assert await states(idle) == [JobState.QUEUED]


def test_an_interrupt_while_sending_is_no_traceback(study: Path) -> None:
    """A service that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with terminal("submit", str(study), "--address", address) as command:
            command.wait_for("Sending")
            command.press(CTRL_C)
            assert command.wait() == ExitCode.INTERRUPTED
            assert f"brainmets jobs --address {address}" in command.shown
            assert is_clean(command.shown)
