"""Owns the time a study has left, and the one rule by which remote calls are repeated within it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import structlog

from brainmets.imaging.errors import DeadlineExceededError, DependencyUnavailableError, OverloadedError

# First pause before a call is repeated; a restarted process needs about this long.
FIRST_PAUSE_S = 0.2
# The pause doubles up to this, so that a dependency that comes back is noticed soon.
LONGEST_PAUSE_S = 5.0

_log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on this process's monotonic clock, seconds."""

    ends_at_s: float

    @classmethod
    def after(cls, duration_s: float) -> Self:
        """Return the deadline that lies `duration_s` ahead."""
        return cls(time.monotonic() + duration_s)

    @property
    def remaining_s(self) -> float:
        """Time left, seconds; 0 once it has passed."""
        return max(0.0, self.ends_at_s - time.monotonic())

    def check(self) -> None:
        """Return while there is time left.

        Raises:
            DeadlineExceededError: There is none.
        """
        if self.remaining_s == 0.0:
            raise deadline_passed()

    @asynccontextmanager
    async def turn(self, places: asyncio.Semaphore) -> AsyncIterator[None]:
        """Hold one of the places while the block runs, once it is free.

        Raises:
            DeadlineExceededError: None was free before the deadline.
        """
        try:
            async with asyncio.timeout(self.remaining_s):
                await places.acquire()
        except TimeoutError:
            raise deadline_passed() from None
        try:
            yield
        finally:
            places.release()


def deadline_passed() -> DeadlineExceededError:
    """Return the error about a study whose time is up."""
    return DeadlineExceededError(
        "The job's deadline passed",
        expected="a result before the deadline",
        got="none",
        remedy="submit the study again with a later deadline, or when there is less load",
    )


async def retry_while_unavailable(call: Callable[[], Awaitable[Answer]], deadline: Deadline) -> Answer:
    """Return what `call` answers; repeat it with growing pauses while what it needs is unavailable.

    Raises:
        DependencyUnavailableError: It stayed unavailable until the deadline.
        OverloadedError: It stayed overloaded until the deadline.
        DeadlineExceededError: The deadline had passed before the first call.
    """
    deadline.check()
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except (DependencyUnavailableError, OverloadedError) as error:
            if deadline.remaining_s <= pause_s:
                raise
            _log.warning("dependency_unavailable", reason=error.reason, got=error.got, retry_after_s=pause_s)
            unavailable = error
        await asyncio.sleep(pause_s)
        if deadline.remaining_s == 0.0:
            # A process that slept too long: what it waited for is still the reason.
            raise unavailable
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
