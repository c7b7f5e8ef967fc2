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

# From the first failure since anything came, and where nothing ever did: then the address may be wrong.
PATIENCE_S, UNREACHED_PATIENCE_S = 600.0, 3.0
# Of a call that a full service refuses.
ATTEMPTS = 3
RETRY_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Answer = TypeVar("Answer")


class Patience:
    """Makes calls again while that may help: for ten minutes from where they stood still, for seconds if none began.

    Calls that go the same way may share one: then any of them that comes farther is reason to wait on.

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
        # What a broken call brought may still be on its way into the store: the offset was asked too early.
        if not (failure.is_transient or failure.code is grpc.StatusCode.OUT_OF_RANGE):
            raise failure
        if not self._failures:
            self._failing_since_s = time.monotonic()
        self._failures += 1
        failing_s = time.monotonic() - self._failing_since_s
        if self._is_over(failure, failing_s):
            raise line_broken(failure) if self._reached else failure
        if self._failures == 1 and self._on_waiting is not None:
            self._on_waiting()
        pause_s = min(RETRY_PAUSE_S + failing_s / 2, LONGEST_PAUSE_S)
        await asyncio.sleep(max(failure.retry_after_s or 0.0, pause_s))

    def _is_over(self, failure: ServiceError, failing_s: float) -> bool:
        if failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not self._while_full:
            self._refusals += 1
            return self._refusals >= ATTEMPTS
        return failing_s >= (PATIENCE_S if self._reached else UNREACHED_PATIENCE_S)


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
