"""Owns what the gateway's processes have in common: their stores, and work that goes on beside the main one."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.redis_connection import check_redis, connect_redis
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.imaging.errors import DependencyUnavailableError
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.settings import GatewaySettings

# How long a process waits for a Redis that starts beside it before it says that there is none.
REDIS_WAIT_S = 30.0
# Between two cancellations of a work that did not end at the first.
CANCEL_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Stores:
    """A process's Redis, its jobs there, and its artefact store."""

    client: redis.asyncio.Redis
    jobs: RedisJobStore
    artifacts: ArtifactStore


@asynccontextmanager
async def open_stores(settings: GatewaySettings, stopping: asyncio.Event) -> AsyncIterator[Stores]:
    """Open both stores while the block runs.

    Raises:
        DependencyUnavailableError: One of them cannot be reached, Redis is set up so that it would lose jobs, or the
            process was told to stop before it was reached.
    """
    client = connect_redis(settings.redis_url.get_secret_value())
    try:
        await _reach(client, stopping)
        yield Stores(client, RedisJobStore(client, _limits(settings)), ArtifactStore.open(settings.artifact_url))
    finally:
        await client.aclose()


async def _reach(client: redis.asyncio.Redis, stopping: asyncio.Event) -> None:
    reached = asyncio.create_task(retry_while_unavailable(lambda: check_redis(client), Deadline.after(REDIS_WAIT_S)))
    await done_or_stopping(reached, stopping)
    if not reached.done():
        reached.cancel()
        raise DependencyUnavailableError(
            "Redis was not reached",
            expected="a Redis that answers",
            got="a signal to stop",
            remedy="start Redis first",
        )
    reached.result()


async def done_or_stopping(
    work: asyncio.Task[Any], stopping: asyncio.Event
) -> None:  # Any: its answer is not looked at
    """Return once a work is done, or the process is told to stop."""
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()


def _limits(settings: GatewaySettings) -> JobStoreLimits:
    return JobStoreLimits(
        max_queued_jobs=settings.max_queued_jobs,
        max_attempts=settings.max_attempts,
        lease_s=settings.lease_s,
        input_lifetime_s=settings.input_lifetime_s,
        result_lifetime_s=settings.result_lifetime_s,
    )


@asynccontextmanager
async def in_background(*works: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run endless works while the block runs; one that breaks breaks the block, and with it the process."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            # Again and again, because redis-py may lose a cancellation, and the process would never end.
            while running := [task for task in tasks if not task.done()]:
                for task in running:
                    task.cancel()
                await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
