"""Ctrl-C in a terminal of 80 columns, against a running gateway: what is said, and what is left."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from brainmets.client import AsyncClient, JobState
from brainmets.client.endings import ExitCode
from brainmets.gateway import submission
from gateway_bench import GatewayBench
from terminal import CTRL_C, TIMEOUT_S, Terminal, terminal

# Less than a command waits for a service that does not answer.
AT_ONCE_S = 8.0
# Answers Ctrl-C as a shell's command does, also where whoever runs the tests ignores it.
ANSWERING_COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from brainmets.command import main
main()
"""

# A user's own, which does nothing about it.
SCRIPT = """
import signal, sys
from brainmets.client import Client
signal.signal(signal.SIGINT, signal.default_int_handler)
with Client(sys.argv[1]) as client:
    client.segment(sys.argv[2], on_progress=lambda job: print(job.state, flush=True))
"""


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


async def test_an_interrupted_segment_cancels_its_job_and_says_so(idle: GatewayBench, study: Path) -> None:
    """By its identifier, as the service has confirmed it."""
    with terminal("segment", str(study), "--address", idle.address) as command:
        assert await interrupt(command, when="Waiting for a worker") == ExitCode.INTERRUPTED
        assert "is cancelled" in command.shown
        assert command.is_clean
    assert await states(idle) == [JobState.CANCELLED]


async def test_a_second_interrupt_ends_at_once(
    idle: GatewayBench, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the service does not answer; what to type later is told."""
    monkeypatch.setattr(submission, "RETURN_GRACE_S", 0.2)
    with terminal("segment", str(study), "--address", idle.address) as command:
        await asyncio.to_thread(command.wait_for, "Waiting for a worker")
        # From here on this thread, in which the service runs, does nothing else.
        command.press(CTRL_C)
        command.wait_for("Cancelling")
        command.press(CTRL_C)
        assert command.wait(AT_ONCE_S) == ExitCode.INTERRUPTED
        assert "may go on" in command.shown
        assert f"--address {idle.address}" in command.shown.rpartition("brainmets cancel ")[2]
        assert command.is_clean
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
        assert command.is_clean
    assert await states(idle) == [JobState.QUEUED]


async def test_an_interrupted_cohort_says_what_goes_on(idle: GatewayBench, study: Path, tmp_path: Path) -> None:
    """What was sent is not cancelled: the same command takes it up again."""
    shutil.copytree(study, tmp_path / "cohort" / "only")
    words = ("--all", str(tmp_path / "cohort"), "--output", str(tmp_path / "out"), "--address", idle.address)
    with terminal("submit", *words) as command:
        await reach(idle, [JobState.QUEUED])
        assert await interrupt(command, when="0/1") == ExitCode.INTERRUPTED
        assert "0 of 1 studies have ended" in command.shown
        assert command.is_clean
    assert await states(idle) == [JobState.QUEUED]


async def test_an_interrupted_canary_takes_its_study_with_it(
    idle: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was nobody's, and nothing was learned from it."""
    # Ctrl-C may come before the canary has heard of its job.
    monkeypatch.setattr(submission, "RETURN_GRACE_S", 0.2)
    with terminal("canary", "--address", idle.address) as command:
        await reach(idle, [JobState.QUEUED])
        command.press(CTRL_C)
        assert await asyncio.to_thread(command.wait) == ExitCode.INTERRUPTED
        assert "is cancelled" in command.shown
        assert "Traceback" not in command.shown
    await reach(idle, [JobState.CANCELLED])


async def test_an_interrupted_script_cancels_its_job(idle: GatewayBench, study: Path) -> None:
    """It ends as every script that is interrupted, and once its job has."""
    pipe = asyncio.subprocess.PIPE
    script = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, idle.address, str(study), stdout=pipe, stderr=pipe
    )
    assert script.stdout is not None
    assert await script.stdout.readline() == b"queued\n"
    script.send_signal(signal.SIGINT)
    _, said = await asyncio.wait_for(script.communicate(), TIMEOUT_S)
    assert await states(idle) == [JobState.CANCELLED]
    assert said.endswith(b"KeyboardInterrupt\n")
    assert b"Usage" not in said


def test_an_interrupt_before_anything_can_be_said_is_no_traceback(tmp_path: Path) -> None:
    """While the command's own code is still being loaded."""
    (tmp_path / "typer.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    words = [sys.executable, "-c", ANSWERING_COMMAND]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"loading\n"
        command.send_signal(signal.SIGINT)
        assert command.communicate(timeout=AT_ONCE_S) == (b"", b"")
    assert command.returncode == -signal.SIGINT


def test_an_interrupt_while_sending_is_no_traceback(study: Path) -> None:
    """A service that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with terminal("submit", str(study), "--address", address) as command:
            command.wait_for("Sending")
            command.press(CTRL_C)
            assert command.wait() == ExitCode.INTERRUPTED
            assert f"brainmets jobs --address {address}" in command.shown
            assert command.is_clean, command.shown
