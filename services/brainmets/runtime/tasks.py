"""Owns how tasks end: together at the first error, or not before a work is done, whoever cancels it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

Answer = TypeVar("Answer")


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks, and return when all have ended; a group of errors would tell a reader nothing.

    Raises:
        Exception: What the first task that failed raised; it stopped the others.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except* Exception as errors:  # noqa: BLE001 -- it is raised again
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def to_its_end(work: Coroutine[None, None, Answer]) -> Answer:
    """Return what a work returns; whoever is cancelled meanwhile waits for it all the same.

    `asyncio.shield` would leave it behind, and what it needs may be closed under it.

    Raises:
        CancelledError: The caller was cancelled, and the work is done.
    """
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        # Its own error gives way, but is no task's that nobody asked.
        task.cancelled() or task.exception()
        raise cancellation
    return task.result()
