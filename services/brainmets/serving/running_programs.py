"""Owns processes that run as one: till one ends or all are told to stop, and then all are, wave by wave."""

import asyncio
import itertools
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

from brainmets.serving.lifeline import tie
from brainmets.serving.program import Program

# Longer than a service takes, which gives calls and studies under way 20 s.
GRACE_S = 45.0
# A killed process is gone once the kernel has taken its memory apart.
_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.1
# Of proc(5): zombie, dead.
_ENDED = frozenset("ZX")
_LONGEST_LINE_BYTES = 1 << 24


class RunningPrograms:
    """Runs programs while its `async with` block does; they end with this process, whatever ends it.

    Args:
        waves: Programs, in the order of their start. Whoever is in a later wave needs those in the waves before, and so
            is stopped first; those of one wave are stopped at once.
        tell: Takes a process's name and a line that it wrote, or "system" and what happens to processes.
    """

    def __init__(self, waves: Iterable[Iterable[Program]], tell: Callable[[str, str], None]) -> None:
        self._waves = tuple(tuple(wave) for wave in waves)
        self._tell = tell
        self._running: dict[str, Process] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._is_asked = False

    async def __aenter__(self) -> Self:
        """Start them; from now on a signal that would end this process stops them, and a second one kills them."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A closed terminal would leave them running; under nohup it is no reason to stop.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._obey, number)
        try:
            for program in itertools.chain.from_iterable(self._waves):
                await self._start(program)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop one wave after the other, and kill what outlives its grace."""
        for wave in reversed(self._waves):
            running = [self._running[program.name] for program in wave if program.name in self._running]
            await asyncio.gather(*map(_end, running))
        await asyncio.gather(*self._followers.values())

    def stop(self) -> None:
        """Let `wait` return."""
        self._stopping.set()

    async def wait(self) -> str | None:
        """Return None once told to stop, or the name of the first process that ended by itself."""
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({told, *self._followers.values()}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if self._stopping.is_set():
            return None
        return next(name for name, follower in self._followers.items() if follower.done())

    def _obey(self, number: int) -> None:
        if self._is_asked:
            for process in self._running.values():
                with suppress(ProcessLookupError):
                    process.kill()
        self._is_asked = True
        self.stop()
        self._tell_of(f"{signal.Signals(number).name} received; a second one does not wait")

    async def _start(self, program: Program) -> None:
        with program.log.open("wb") if program.log else nullcontext(PIPE) as output:
            process = await asyncio.create_subprocess_exec(
                *tie(program).words,
                env=program.environment,
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                limit=_LONGEST_LINE_BYTES,
                # Ctrl-C is this process's to handle; and what a process leaves behind is found by its group.
                start_new_session=True,
            )
        self._running[program.name] = process
        self._tell_of(f"{program.name} started (pid={process.pid})")
        self._followers[program.name] = asyncio.create_task(self._follow(program.name, process))

    async def _follow(self, name: str, process: Process) -> None:
        """Pass on what a process writes until it ends."""
        while process.stdout is not None and (line := await process.stdout.readline()):
            self._tell(name, line.decode(errors="replace").rstrip())
        self._tell_of(f"{name} stopped (rc={await process.wait()})")

    def _tell_of(self, event: str) -> None:
        self._tell("system", event)


async def _end(process: Process) -> None:
    """End a process in order, else by force, and kill whom it has left behind, as a killed Triton its backends."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_S)
    # An empty group is none.
    with suppress(ProcessLookupError, TimeoutError):
        async with asyncio.timeout(_KILL_TIMEOUT_S):
            while True:
                os.killpg(process.pid, signal.SIGKILL)
                if not _computes(process.pid):
                    return
                await asyncio.sleep(_POLL_S)


def _computes(group: int) -> bool:
    """Return whether a process of a group has not ended; who waits for an orphan may take a while, or never do it."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # pid (name) state parent group ...; a name may hold anything (proc(5)).
            state, _, own_group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(own_group) == group and state not in _ENDED:
                return True
    return False
