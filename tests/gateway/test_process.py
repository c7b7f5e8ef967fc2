"""Tests of what runs beside a process's main work: it ends with it."""

import asyncio
import contextlib

import pytest

from brainmets.gateway.process import in_background

ENDS_WITHIN_S = 30.0


async def loses_a_cancellation(ended: asyncio.Event) -> None:
    """Work as redis-py does when the cancellation meets the end of a wait."""
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(ENDS_WITHIN_S * 10)
        await asyncio.sleep(ENDS_WITHIN_S * 10)
    finally:
        ended.set()


async def test_work_ends_even_when_it_lost_a_cancellation() -> None:
    """The process would hang at SIGTERM."""
    ended = asyncio.Event()
    async with asyncio.timeout(ENDS_WITHIN_S), in_background(loses_a_cancellation(ended)):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_work_that_lost_a_cancellation_ends_with_a_block_that_breaks() -> None:
    """A process that cannot go on must end, for only then is it started again."""
    ended = asyncio.Event()

    async def breaks() -> None:
        async with in_background(loses_a_cancellation(ended)):
            await asyncio.sleep(0)
            raise ValueError

    block = asyncio.create_task(breaks())
    await asyncio.wait({block}, timeout=ENDS_WITHIN_S)
    assert ended.is_set()
    with pytest.raises(ExceptionGroup):
        await block


async def test_work_that_lost_a_cancellation_ends_with_other_work_that_breaks() -> None:
    """As with a block that does."""
    ended = asyncio.Event()

    async def breaks() -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def waits() -> None:
        async with in_background(loses_a_cancellation(ended), breaks()):
            await asyncio.Event().wait()

    block = asyncio.create_task(waits())
    await asyncio.wait({block}, timeout=ENDS_WITHIN_S)
    assert ended.is_set()
    with pytest.raises(ExceptionGroup):
        await block


async def test_work_that_breaks_breaks_the_block() -> None:
    """A process does not go on without its watch."""

    async def work() -> None:
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(ENDS_WITHIN_S), in_background(work()):
            await asyncio.Event().wait()
