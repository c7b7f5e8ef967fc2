"""What nobody asks for happens all the same: overdue jobs end, outlived files go, and the queue is measured."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio

from brainmets.gateway.housekeeping import keep_house
from brainmets.gateway.jobs import DEFAULT_TENANT, Completion, JobState, NewJob, QueueDepth
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.imaging.errors import DependencyUnavailableError
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


class BrokenStore:
    """An artefact store that hangs, or cannot delete one prefix."""

    def __init__(self, artifacts: ArtifactStore, *, stuck: str = "") -> None:
        self._artifacts = artifacts
        self._stuck = stuck
        self.asked = asyncio.Event()

    async def delete_prefix(self, prefix: str) -> None:
        """Hang, or refuse the stuck prefix alone."""
        self.asked.set()
        if not self._stuck:
            await asyncio.Event().wait()
        if prefix == self._stuck:
            raise DependencyUnavailableError(
                "The store is not available", expected="a file", got="none", remedy="retry"
            )
        await self._artifacts.delete_prefix(prefix)


async def due_at_once(client: redis.asyncio.Redis, *prefixes: str) -> None:
    """Put prefixes on the list of what is to be erased, in this order."""
    await client.zadd(
        tenant_key(DEFAULT_TENANT, "erasures"), {prefix: number for number, prefix in enumerate(prefixes, 1)}
    )


async def test_an_overdue_job_ends_although_the_store_hangs(
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    artifacts: ArtifactStore,
    new_job: Callable[..., Awaitable[NewJob]],
) -> None:
    """What is due in Redis alone does not wait for files."""
    await due_at_once(client, "jobs/first/")
    store = BrokenStore(artifacts)
    keeping = asyncio.create_task(keep_house(jobs, store, on_measured=lambda *_: None))  # type: ignore[arg-type] # what it calls
    async with asyncio.timeout(10):
        await store.asked.wait()
        job = await jobs.submit(await new_job(deadline_s=0.01))
        async for change in jobs.watch(DEFAULT_TENANT, job.job_id):
            job = change
    assert job.state is JobState.FAILED
    keeping.cancel()


async def test_what_cannot_be_erased_does_not_keep_the_rest(
    client: redis.asyncio.Redis, jobs: RedisJobStore, artifacts: ArtifactStore
) -> None:
    """It stays due itself."""
    await artifacts.put("jobs/second/mask.nii.gz", b"mask")
    await due_at_once(client, "jobs/first/", "jobs/second/")
    store = BrokenStore(artifacts, stuck="jobs/first/")
    keeping = asyncio.create_task(keep_house(jobs, store, on_measured=lambda *_: None))  # type: ignore[arg-type] # what it calls
    # Counted, because redis-py may lose a timeout's cancellation.
    for _ in range(250):
        if len(await jobs.sweep(DEFAULT_TENANT)) == 1:
            break
        await asyncio.sleep(0.02)
    assert [erasure.prefix for erasure in await jobs.sweep(DEFAULT_TENANT)] == ["jobs/first/"]
    assert await artifacts.list_paths("jobs/") == ()
    keeping.cancel()


async def test_a_redis_lost_while_files_are_erased_is_borne(
    client: redis.asyncio.Redis, jobs: RedisJobStore, redis_server: RedisServer
) -> None:
    """What was erased is erased again."""
    lost = asyncio.Event()

    class SlowStore:
        async def delete_prefix(self, prefix: str) -> None:
            assert prefix
            redis_server.kill()
            lost.set()

    await due_at_once(client, "jobs/first/")
    keeping = asyncio.create_task(keep_house(jobs, SlowStore(), on_measured=lambda *_: None))  # type: ignore[arg-type] # what it calls
    try:
        await asyncio.wait_for(lost.wait(), 10)
        await asyncio.sleep(0.5)
        assert not keeping.done()
    finally:
        redis_server.start()
        keeping.cancel()


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
