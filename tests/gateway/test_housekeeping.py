"""What nobody asks for happens all the same: overdue jobs end, outlived files go, and the queue is measured."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from structlog.testing import capture_logs
from structlog.typing import EventDict

import brainmets.gateway.housekeeping
from brainmets.gateway.housekeeping import keep_house
from brainmets.gateway.jobs import DEFAULT_TENANT, Completion, Job, JobState, NewJob, QueueDepth, Upload
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.redis_job_store import SWEEP_LIMIT, RedisJobStore
from brainmets.imaging.errors import DependencyUnavailableError
from brainmets.runtime.artifact_store import ArtifactStore
from job_cases import claim_now
from redis_server import RedisServer

WAIT_S = 30.0
ERASURES = tenant_key(DEFAULT_TENANT, "erasures")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep without long pauses."""
    monkeypatch.setattr(brainmets.gateway.housekeeping, "SWEEP_INTERVAL_S", 0.05)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An artefact store in a folder."""
    return ArtifactStore.open(tmp_path.as_uri())


@pytest.fixture
def depths() -> list[QueueDepth]:
    """What was measured."""
    return []


@asynccontextmanager
async def keeping_house(
    jobs: RedisJobStore, artifacts: object, depths: list[QueueDepth] | None = None
) -> AsyncIterator["asyncio.Task[None]"]:
    """Keep house while the block runs; an artefact store of any kind that can delete a prefix will do."""
    measured = [] if depths is None else depths
    house = asyncio.create_task(
        keep_house(
            jobs,
            artifacts,  # type: ignore[arg-type] # what it calls
            on_measured=lambda depth, _: measured.append(depth),
            on_unmeasured=measured.clear,
        )
    )
    try:
        yield house
    finally:
        # Again and again, because redis-py may lose a cancellation.
        while not house.done():
            house.cancel()
            await asyncio.wait({house}, timeout=0.1)


@pytest.fixture
async def house(
    jobs: RedisJobStore, artifacts: ArtifactStore, depths: list[QueueDepth]
) -> AsyncIterator["asyncio.Task[None]"]:
    """Keep house."""
    async with keeping_house(jobs, artifacts, depths) as house:
        yield house


async def until(depths: list[QueueDepth], count: int) -> None:
    """Return after this many measurements; each but the last was followed by a sweep."""
    async with asyncio.timeout(WAIT_S):
        while len(depths) < count:  # noqa: ASYNC110 -- what is waited for is a list
            await asyncio.sleep(0.02)


async def until_told(told: list[EventDict], event: str, count: int) -> None:
    """Return once the log tells of something so many times."""
    async with asyncio.timeout(WAIT_S):
        while [entry["event"] for entry in told].count(event) < count:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.02)


async def ended(jobs: RedisJobStore, job: Job) -> Job:
    """Return a job once it has ended."""
    async with asyncio.timeout(WAIT_S):
        async for change in jobs.watch(DEFAULT_TENANT, job.job_id):
            job = change
    return job


@pytest.mark.usefixtures("house")
async def test_an_overdue_job_ends(jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]]) -> None:
    """Although no worker runs."""
    job = await jobs.submit(await new_job(deadline_s=0.01))
    assert (await ended(jobs, job)).state is JobState.FAILED


class BrokenStore:
    """An artefact store that hangs, or cannot delete some prefixes."""

    def __init__(self, artifacts: ArtifactStore, *, stuck: Collection[str] = ()) -> None:
        self._artifacts = artifacts
        self._stuck = stuck
        self.asked = asyncio.Event()

    async def list_folders(self, prefix: str) -> tuple[str, ...]:
        """Hang as well, or list."""
        if not self._stuck:
            await asyncio.Event().wait()
        return await self._artifacts.list_folders(prefix)

    async def delete_prefix(self, prefix: str) -> None:
        """Hang, or refuse the stuck prefixes alone."""
        self.asked.set()
        if not self._stuck:
            await asyncio.Event().wait()
        if prefix in self._stuck:
            raise DependencyUnavailableError(
                "The store is not available", expected="a file", got="none", remedy="retry"
            )
        await self._artifacts.delete_prefix(prefix)


async def due_at_once(client: redis.asyncio.Redis, *prefixes: str) -> None:
    """Put prefixes on the list of what is to be erased, in this order."""
    await client.zadd(ERASURES, {prefix: number for number, prefix in enumerate(prefixes, 1)})


async def until_listed(client: redis.asyncio.Redis, count: int) -> None:
    """Return once so many prefixes are to be erased."""
    async with asyncio.timeout(WAIT_S):
        while await client.zcard(ERASURES) != count:  # noqa: ASYNC110 -- Redis tells nobody
            await asyncio.sleep(0.02)


async def test_an_overdue_job_ends_although_the_store_hangs(
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    artifacts: ArtifactStore,
    new_job: Callable[..., Awaitable[NewJob]],
) -> None:
    """What is due in Redis alone does not wait for files."""
    await due_at_once(client, "jobs/first/")
    store = BrokenStore(artifacts)
    async with keeping_house(jobs, store):
        await asyncio.wait_for(store.asked.wait(), WAIT_S)
        job = await jobs.submit(await new_job(deadline_s=0.01))
        assert (await ended(jobs, job)).state is JobState.FAILED


async def test_what_cannot_be_erased_does_not_keep_the_rest(
    client: redis.asyncio.Redis, jobs: RedisJobStore, artifacts: ArtifactStore
) -> None:
    """However much there is of it, and it stays on the list itself."""
    stuck = [f"jobs/{number}/" for number in range(SWEEP_LIMIT)]
    await artifacts.put("jobs/last/mask.nii.gz", b"mask")
    await due_at_once(client, *stuck, "jobs/last/")
    with capture_logs() as told:
        async with keeping_house(jobs, BrokenStore(artifacts, stuck=stuck)):
            await until_listed(client, SWEEP_LIMIT)
    assert await artifacts.list_paths("jobs/") == ()
    assert [entry["event"] for entry in told].count("erasure_failed") == SWEEP_LIMIT


async def test_a_redis_lost_while_files_are_erased_is_borne(
    client: redis.asyncio.Redis, jobs: RedisJobStore, redis_server: RedisServer
) -> None:
    """What was erased is erased again."""
    lost, again = asyncio.Event(), asyncio.Event()

    class SlowStore:
        async def list_folders(self, _prefix: str) -> tuple[str, ...]:
            return ()

        async def delete_prefix(self, prefix: str) -> None:
            assert prefix
            if lost.is_set():
                again.set()
            else:
                redis_server.kill()
                lost.set()

    await due_at_once(client, "jobs/first/")
    with capture_logs() as told:
        async with keeping_house(jobs, SlowStore()):
            await asyncio.wait_for(lost.wait(), WAIT_S)
            try:
                await until_told(told, "sweep_failed", 1)
            finally:
                redis_server.start()
            await asyncio.wait_for(again.wait(), WAIT_S)


async def test_outlived_files_are_erased(
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    artifacts: ArtifactStore,
    new_job: Callable[..., Awaitable[NewJob]],
    depths: list[QueueDepth],
) -> None:
    """A job that ended long ago leaves nothing in the store."""
    job = await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await artifacts.put(f"{claim.prefix}mask.nii.gz", b"mask")
    await jobs.complete(claim, Completion(b"result", ()))
    for index in ("inputs", "results"):
        await client.zadd(tenant_key(DEFAULT_TENANT, index), {job.job_id: 1})
    async with keeping_house(jobs, artifacts, depths):
        await until(depths, 2)
    # Erasures wait a while for those who still write; the record is gone at once.
    assert (await jobs.list_jobs(DEFAULT_TENANT, 10))[0] == ()


async def test_files_that_redis_does_not_know_are_erased(
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    artifacts: ArtifactStore,
    complete_upload: Callable[..., Awaitable[Upload]],
) -> None:
    """Redis may lose what it was told last, and a study must not stay for ever; what it knows stays."""
    known = await complete_upload()
    strays = (f"uploads/{'a' * 32}/", f"jobs/{'b' * 32}/")
    for folder in (known.prefix, *strays):
        await artifacts.put(f"{folder}0/0-a", b"voxels")
    async with keeping_house(jobs, artifacts):
        await until_listed(client, len(strays))
        assert set(await artifacts.list_folders("uploads/")) == {strays[0], known.prefix}
        await due_at_once(client, *strays)
        await until_listed(client, 0)
    assert await artifacts.list_folders("uploads/") + await artifacts.list_folders("jobs/") == (known.prefix,)


async def test_what_redis_does_not_know_is_looked_for_again(
    client: redis.asyncio.Redis, jobs: RedisJobStore, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes later is found as well, and hourly is enough."""
    monkeypatch.setattr(brainmets.gateway.housekeeping, "SEARCH_INTERVAL_S", 0.05)
    async with keeping_house(jobs, artifacts):
        for number in range(2):
            await artifacts.put(f"jobs/{number:032x}/0/mask", b"mask")
            await until_listed(client, number + 1)


@pytest.mark.usefixtures("house")
async def test_the_queue_is_measured(
    jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]], depths: list[QueueDepth]
) -> None:
    """Workers are scaled on it."""
    await jobs.submit(await new_job())
    # One may be under way.
    await until(depths, len(depths) + 2)
    assert depths[-1].queued == 1


async def test_a_redis_that_is_away_is_borne(
    house: "asyncio.Task[None]",
    redis_server: RedisServer,
    client: redis.asyncio.Redis,
    depths: list[QueueDepth],
) -> None:
    """Everything that was due stays due, and what was measured is told to be out of date."""
    await until(depths, 1)
    with capture_logs() as told:
        redis_server.kill()
        try:
            # What sweeps and what erases, twice.
            await until_told(told, "sweep_failed", 4)
            assert not house.done()
            assert depths == []
        finally:
            redis_server.start()
    await until(depths, 1)
    await client.ping()
