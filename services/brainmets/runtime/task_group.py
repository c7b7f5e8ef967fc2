"""Owns tasks that belong together: the first error stops the others, and is raised as if it had been alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks, and return when all have ended; a group of errors would tell a reader nothing.

    Raises:
        Exception: What the first task that failed raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except* Exception as errors:  # noqa: BLE001 -- it is raised again
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
