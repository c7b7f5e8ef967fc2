"""What nobody asks for happens all the same: overdue jobs end, outlived files go, and the queue is measured."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio

from brainmets.gateway.housekeeping import keep_house
from brainmets.gateway.jobs import DEFAULT_TENANT, Completion, JobState, NewJob, QueueDepth
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.runtime.artifact_store import ArtifactStore
from redis_server import RedisServer


@pytest.fixture
def limits() -> JobStoreLimits:
    """Lifetimes short enough to be waited for."""
    return JobStoreLimits(lease_s=0.3, input_lifetime_s=0.05, result_lifetime_s=0.05)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An artefact store in a folder."""
    return ArtifactStore.open(tmp_path.as_uri())


@pytest.fixture
def depths() -> list[QueueDepth]:
    """What was measured."""
    return []


@pytest.fixture
async def house(jobs: RedisJobStore, artifacts: ArtifactStore, depths: list[QueueDepth]) -> "asyncio.Task[None]":
    """Keep house."""
    return asyncio.create_task(keep_house(jobs, artifacts, on_measured=lambda depth, _: depths.append(depth)))


async def until(depths: list[QueueDepth], count: int) -> None:
    """Return after this many sweeps."""
    async with asyncio.timeout(10):
        while len(depths) < count:  # noqa: ASYNC110 -- what is waited for is a list
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("house")
async def test_an_overdue_job_ends(
    jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]], depths: list[QueueDepth]
) -> None:
    """Although no worker runs."""
    job = await jobs.submit(await new_job(deadline_s=0.01))
    await until(depths, 2)
    assert (await jobs.read(DEFAULT_TENANT, job.job_id)).state is JobState.FAILED


async def test_outlived_files_are_erased(
    jobs: RedisJobStore, artifacts: ArtifactStore, new_job: Callable[..., Awaitable[NewJob]]
) -> None:
    """A job that ended long ago leaves nothing in the store."""
    job = await jobs.submit(await new_job())
    claim = await jobs.claim(DEFAULT_TENANT, "worker", block_s=0)
    assert claim is not None
    await artifacts.put(f"{claim.prefix}mask.nii.gz", b"mask")
    await jobs.complete(claim, Completion(b"result", ()))
    await asyncio.sleep(0.1)
    depths: list[QueueDepth] = []
    keeping = asyncio.create_task(keep_house(jobs, artifacts, on_measured=lambda depth, _: depths.append(depth)))
    await until(depths, 2)
    keeping.cancel()
    # Erasures wait a while for those who still write; the record is gone at once.
    assert (await jobs.list_jobs(DEFAULT_TENANT, 10))[0] == ()
    assert job.job_id


@pytest.mark.usefixtures("house")
async def test_the_queue_is_measured(
    jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]], depths: list[QueueDepth]
) -> None:
    """Workers are scaled on it."""
    await jobs.submit(await new_job())
    await until(depths, len(depths) + 1)
    assert depths[-1].queued == 1


async def test_a_redis_that_is_away_is_borne(
    house: "asyncio.Task[None]",
    redis_server: RedisServer,
    client: redis.asyncio.Redis,
    depths: list[QueueDepth],
) -> None:
    """Everything that was due stays due."""
    await until(depths, 1)
    redis_server.kill()
    try:
        await asyncio.sleep(2.2)
        assert not house.done()
    finally:
        redis_server.start()
    await until(depths, len(depths) + 1)
    await client.ping()
    house.cancel()
