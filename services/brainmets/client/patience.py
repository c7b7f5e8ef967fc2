"""Owns how long a call is made again that a bad line breaks off."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from brainmets.client.errors import DEADLINE_WORDS, ServiceError, line_broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# From the first failure since anything came.
PATIENCE_S = 600.0
# Where nothing ever came, or where the service itself refuses, it is not the line that has to come back.
ATTEMPTS = 3
RETRY_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Answer = TypeVar("Answer")


class Patience:
    """Makes a call again while that may help: for ten minutes from where it stood still, a few times if it never began.

    Args:
        reached: Whether the service has answered already.
        while_full: Whether a service that is full is waited for as one that is away.
        on_waiting: Called once each time that waiting begins.
    """

    def __init__(
        self, *, reached: bool = False, while_full: bool = False, on_waiting: Callable[[], None] | None = None
    ) -> None:
        self._reached = reached
        self._while_full = while_full
        self._on_waiting = on_waiting
        self._failures = self._refusals = 0
        self._failing_since_s = 0.0

    def progressed(self) -> None:
        """Begin anew: something came, or went out."""
        self._reached = True
        self._failures = self._refusals = 0

    async def repeat(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call until it answers.

        Raises:
            ServiceError: Its last one, where it is not made again.
        """
        while True:
            try:
                answer = await call()
            except ServiceError as failure:
                await self.bear(failure)
            else:
                self.progressed()
                return answer

    async def bear(self, failure: ServiceError) -> None:
        """Pause before a call is made again.

        Raises:
            ServiceError: This one, where it is not.
        """
        if not self._failures:
            self._failing_since_s = time.monotonic()
        self._failures += 1
        if self._is_over(failure):
            raise line_broken(failure) if self._reached else failure
        if self._failures == 1 and self._on_waiting is not None:
            self._on_waiting()
        pause_s = min(RETRY_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
        await asyncio.sleep(max(failure.retry_after_s or 0.0, pause_s))

    def _is_over(self, failure: ServiceError) -> bool:
        # What a broken call brought may still be on its way into the store: the offset was asked too early.
        too_early = failure.code is grpc.StatusCode.OUT_OF_RANGE
        if too_early or (failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not self._while_full):
            self._refusals += 1
            return self._refusals == ATTEMPTS
        if not failure.is_transient:
            return True
        if not self._reached:
            return self._failures == ATTEMPTS
        return time.monotonic() - self._failing_since_s >= PATIENCE_S


@asynccontextmanager
async def silence_ends_it(longest_s: float) -> AsyncIterator[Callable[[], None]]:
    """End a call as its deadline would, once nothing of it has been heard for so long; yields what to call when it is.

    A service that hangs may answer pings all the same, and a call that sends a study has no deadline of its own.
    """
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not bound.expired():
            bound.reschedule(loop.time() + longest_s)

    try:
        async with asyncio.timeout(longest_s) as bound:
            yield heard
    except TimeoutError:
        # One of a file system is the caller's.
        if not bound.expired():
            raise
        code, nothing = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(code, nothing, nothing, DEADLINE_WORDS, debug_error_string=None) from None
