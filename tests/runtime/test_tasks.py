"""Tasks end together at the first error, and a work that must be done is done."""

import asyncio

import pytest

from brainmets.imaging.errors import DataLossError
from brainmets.runtime.tasks import task_group, to_its_end

pytestmark = pytest.mark.asyncio


async def fail(error: Exception) -> None:
    """Raise it."""
    raise error


async def test_the_first_error_comes_out_and_stops_the_others() -> None:
    """However deep it was raised."""
    error = DataLossError("Gone", expected="bytes", got="none", remedy="send them again")
    others: list[asyncio.Task[bool]] = []

    async def run() -> None:
        async with task_group() as group, asyncio.TaskGroup() as inner:
            others.append(group.create_task(asyncio.Event().wait()))
            inner.create_task(fail(error))

    with pytest.raises(DataLossError) as raised:
        await run()
    assert raised.value is error
    assert others[0].cancelled()


async def test_a_defect_comes_out_too() -> None:
    """Whoever logs it sees its kind."""

    async def run() -> None:
        async with task_group() as group:
            group.create_task(fail(KeyError()))

    with pytest.raises(KeyError):
        await run()


async def test_a_cancellation_stays_one() -> None:
    """It stops the tasks, and is no error."""
    begun = asyncio.Event()
    inside: list[asyncio.Task[bool]] = []

    async def run() -> None:
        async with task_group() as group:
            inside.append(group.create_task(asyncio.Event().wait()))
            begun.set()

    running = asyncio.create_task(run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert inside[0].cancelled()


async def test_a_work_is_done_however_often_its_caller_is_cancelled() -> None:
    """Only then does the caller end."""
    may_end, done = asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        done.append(True)
        raise KeyError

    caller = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


async def test_what_a_work_returns_or_raises_comes_out() -> None:
    """As if it had been awaited."""
    assert await to_its_end(asyncio.sleep(0, result=7)) == 7
    with pytest.raises(KeyError):
        await to_its_end(fail(KeyError()))
