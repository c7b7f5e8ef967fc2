"""Tests of what runs beside a process's main work: it ends with it."""

import asyncio
import contextlib

import pytest

from brainmets.gateway.process import in_background

ENDS_WITHIN_S = 30.0


async def test_work_ends_even_when_it_lost_a_cancellation() -> None:
    """As redis-py does when the cancellation meets the end of a wait; the process would hang at SIGTERM."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(ENDS_WITHIN_S * 10)
            await asyncio.sleep(ENDS_WITHIN_S * 10)
        finally:
            ended.set()

    async with asyncio.timeout(ENDS_WITHIN_S), in_background(work()):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_work_that_breaks_breaks_the_block() -> None:
    """A process does not go on without its watch."""

    async def work() -> None:
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(ENDS_WITHIN_S), in_background(work()):
            await asyncio.Event().wait()
