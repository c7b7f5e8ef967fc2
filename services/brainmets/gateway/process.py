"""Owns what the gateway's processes have in common: their stores, and work that goes on beside the main one."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

import redis.asyncio

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.redis_connection import check_redis, connect_redis
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
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
async def open_stores(settings: GatewaySettings) -> AsyncIterator[Stores]:
    """Open both stores while the block runs.

    Raises:
        DependencyUnavailableError: One of them cannot be reached, or Redis is set up so that it would lose jobs.
    """
    client = connect_redis(settings.redis_url.get_secret_value())
    try:
        await retry_while_unavailable(lambda: check_redis(client), Deadline.after(REDIS_WAIT_S))
        yield Stores(client, RedisJobStore(client, _limits(settings)), ArtifactStore.open(settings.artifact_url))
    finally:
        await client.aclose()


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
        yield
        # Again and again, because redis-py may lose a cancellation, and the process would never end.
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
