"""Processes run as one: each is stopped in its turn and in its own time, and none is left."""

import asyncio
import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest

from brainmets.serving import running_programs
from brainmets.serving.program import Program
from brainmets.serving.running_programs import RunningPrograms

# What a program does when it is told to stop; it says when it can be.
OBEYS = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: {}); print('ready', flush=True); time.sleep(60)"
IDLE = OBEYS.format("exit()")
BUSY = OBEYS.format("(time.sleep(0.5), print('finished'), exit())")
STUBBORN = OBEYS.format("None")
SHORT_GRACE_S = 2.0
LONG_S = 20.0
# linux/prctl.h: whose parent has ended becomes a child of this process.
PR_SET_CHILD_SUBREAPER = 36


def programs(**codes: str) -> list[list[Program]]:
    """Return programs in Python, by their names, each of which needs those before it."""
    return [[Program(name, (sys.executable, "-c", code), os.environ)] for name, code in codes.items()]


class Told:
    """What is told of them."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._ready = asyncio.Semaphore(0)

    def __call__(self, name: str, line: str) -> None:
        """Take a line."""
        self.lines.append((name, line))
        if line == "ready":
            self._ready.release()

    @property
    def stopped(self) -> list[str]:
        """Processes that have stopped, in their order, and their exit statuses."""
        return [line for name, line in self.lines if name == "system" and "stopped" in line]

    async def wait_for_ready(self, count: int) -> None:
        """Return once so many processes have said that they are."""
        for _ in range(count):
            await self._ready.acquire()


async def test_the_last_is_stopped_first_and_waited_for() -> None:
    """Though those before it would be done at once: it needs them to the end."""
    told = Told()
    async with RunningPrograms(programs(first=IDLE, second=IDLE, third=BUSY), told):
        await told.wait_for_ready(3)
    assert told.stopped == ["third stopped (rc=0)", "second stopped (rc=0)", "first stopped (rc=0)"]
    assert ("third", "finished") in told.lines


async def test_those_of_one_wave_are_stopped_at_once() -> None:
    """None needs another: the slow one keeps nobody waiting, but for those that it needs."""
    told = Told()
    (needed,), (slow,), (fast,) = programs(needed=IDLE, slow=BUSY, fast=IDLE)
    async with RunningPrograms([[needed], [fast, slow]], told):
        await told.wait_for_ready(3)
    assert told.stopped == ["fast stopped (rc=0)", "slow stopped (rc=0)", "needed stopped (rc=0)"]


async def test_only_what_outlives_its_grace_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others still have theirs."""
    monkeypatch.setattr(running_programs, "GRACE_S", SHORT_GRACE_S)
    told = Told()
    async with RunningPrograms(programs(busy=BUSY, stubborn=STUBBORN), told):
        await told.wait_for_ready(2)
    assert told.stopped == [f"stubborn stopped (rc={-signal.SIGKILL})", "busy stopped (rc=0)"]


@pytest.fixture
def hangup_heard() -> Iterator[None]:
    """A terminal's end that is not ignored, as it is where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_them_and_a_second_one_kills(number: signal.Signals) -> None:
    """Also the one of a terminal that is closed, which would leave them running."""
    told = Told()
    async with RunningPrograms(programs(stubborn=STUBBORN), told) as running:
        await told.wait_for_ready(1)
        os.kill(os.getpid(), number)
        assert await running.wait() is None
        assert not told.stopped
        os.kill(os.getpid(), number)
    assert told.stopped == [f"stubborn stopped (rc={-signal.SIGKILL})"]


async def test_nohup_is_heard() -> None:
    """Whoever starts them so wants them to outlive the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    told = Told()
    try:
        async with RunningPrograms([], told):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.1)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not told.lines


async def test_the_first_to_end_by_itself_is_named_and_ends_the_others() -> None:
    """Whatever its status."""
    told = Told()
    async with RunningPrograms(programs(first=IDLE, second="exit(3)"), told) as running:
        assert await running.wait() == "second"
        await told.wait_for_ready(1)
    assert told.stopped == ["second stopped (rc=3)", "first stopped (rc=0)"]


async def test_none_is_left_when_one_cannot_be_started() -> None:
    """Whoever has been started before it is ended."""
    told = Told()
    unknown = Program("unknown", ("/no/such/program",), os.environ)
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        async with RunningPrograms([*programs(first=IDLE), [unknown]], told):
            pass
    (pid,) = (int(pid) for _, line in told.lines for pid in re.findall(r"pid=(\d+)", line))
    assert not psutil.pid_exists(pid)


def reap(orphan: int) -> int:
    """Take note of an orphan's end, and return how it ended."""
    return os.waitpid(orphan, os.WNOHANG)[1]


async def test_who_has_ended_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes note of an orphan's end where process 1 does not, as in many containers."""
    monkeypatch.setattr(running_programs, "_KILL_TIMEOUT_S", LONG_S)
    told, libc = Told(), ctypes.CDLL(None)
    parent = Program("parent", ("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"), os.environ)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        async with asyncio.timeout(LONG_S / 2), RunningPrograms([[parent]], told) as running:
            assert await running.wait() == "parent"
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
    assert reap(next(int(line) for name, line in told.lines if name == "parent")) == signal.SIGKILL


async def test_a_line_is_passed_on_whole_and_what_is_no_text_with_it() -> None:
    """However long it is."""
    told = Told()
    code = "import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * 1_000_000 + b'\\nend')"
    async with RunningPrograms(programs(talker=code), told) as running:
        assert await running.wait() == "talker"
    assert [line for name, line in told.lines if name == "talker"] == ["\ufffd" + "x" * 1_000_000, "end"]
