"""A full Redis takes no new work, but whatever ends or forgets a job goes on: nothing else could ever free it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio

from brainmets.gateway.jobs import DEFAULT_TENANT, Completion, Failure, FailureReason, JobState, NewJob
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.errors import DependencyUnavailableError, UnknownJobError, UnknownUploadError
from job_cases import claim_now, completion_of

MakeNewJob = Callable[..., Awaitable[NewJob]]
Fill = Callable[[], Awaitable[None]]
# Of a result that no compression makes smaller.
RESULT_BYTES = 500_000


@pytest.fixture
async def fill(client: redis.asyncio.Redis) -> AsyncIterator[Fill]:
    """Let Redis stand at its limit from then on."""

    async def fill_up() -> None:
        await client.config_set("maxmemory", "1")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            await client.set("one more", "value")

    yield fill_up
    await client.config_set("maxmemory", "0")


async def test_a_held_job_can_be_completed(jobs: RedisJobStore, new_job: MakeNewJob, fill: Fill) -> None:
    """Else it would be segmented until its attempts are used up."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await fill()
    assert (await jobs.complete(claim, completion_of(claim))).state is JobState.SUCCEEDED


async def test_a_held_job_can_be_failed(jobs: RedisJobStore, new_job: MakeNewJob, fill: Fill) -> None:
    """Its client hears why."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await fill()
    assert (await jobs.fail(claim, Failure(FailureReason.INTERNAL))).state is JobState.FAILED


async def test_a_held_job_can_be_given_back_and_taken_again(
    jobs: RedisJobStore, new_job: MakeNewJob, fill: Fill
) -> None:
    """What was accepted is worked off."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await fill()
    await jobs.release(claim)
    assert (await claim_now(jobs)).job.job_id == claim.job.job_id


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_job_can_be_cancelled(*, claimed: bool, jobs: RedisJobStore, new_job: MakeNewJob, fill: Fill) -> None:
    """Whether somebody works on it or not."""
    job = await jobs.submit(await new_job())
    if claimed:
        await claim_now(jobs)
    await fill()
    assert (await jobs.cancel(DEFAULT_TENANT, job.job_id)).state is JobState.CANCELLED


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_job_can_be_deleted(*, claimed: bool, jobs: RedisJobStore, new_job: MakeNewJob, fill: Fill) -> None:
    """What a client wants erased is erased."""
    job = await jobs.submit(await new_job())
    if claimed:
        await claim_now(jobs)
    await fill()
    assert len(await jobs.delete(DEFAULT_TENANT, job.job_id)) == 2
    with pytest.raises(UnknownJobError):
        await jobs.read(DEFAULT_TENANT, job.job_id)


async def test_an_upload_can_be_deleted(uploads: RedisUploadStore, new_job: MakeNewJob, fill: Fill) -> None:
    """A study that is refused leaves nothing."""
    upload = (await new_job()).upload
    await fill()
    await uploads.delete_upload(DEFAULT_TENANT, upload.upload_id)
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)


async def test_a_sweep_ends_and_forgets_what_is_due_and_memory_falls(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis, fill: Fill
) -> None:
    """One overdue job must not keep everything that has outlived its lifetime."""
    outlived, ended = [await jobs.submit(await new_job()) for _ in range(2)]
    for result in (os.urandom(RESULT_BYTES), b"result"):
        await jobs.complete(await claim_now(jobs), Completion(result, ()))
    overdue = await jobs.submit(await new_job())
    for index, job in (("results", outlived), ("inputs", ended), ("deadlines", overdue)):
        await client.zadd(tenant_key(DEFAULT_TENANT, index), {job.job_id: 1})
    await fill()
    before = (await client.info("memory"))["used_memory"]
    await jobs.sweep(DEFAULT_TENANT)
    assert (await client.info("memory"))["used_memory"] < before - RESULT_BYTES / 2
    assert (await jobs.read(DEFAULT_TENANT, overdue.job_id)).state is JobState.FAILED
    with pytest.raises(UnknownJobError):
        await jobs.read(DEFAULT_TENANT, outlived.job_id)
    assert await client.zscore(tenant_key(DEFAULT_TENANT, "inputs"), ended.job_id) is None


async def test_an_erasure_that_fails_can_be_put_off(
    jobs: RedisJobStore, client: redis.asyncio.Redis, fill: Fill
) -> None:
    """Else it would keep those after it."""
    await client.zadd(tenant_key(DEFAULT_TENANT, "erasures"), {"jobs/a/": 1})
    await fill()
    (erasure,) = await jobs.due_erasures(DEFAULT_TENANT)
    await jobs.postpone_erasure(DEFAULT_TENANT, erasure)
    assert await jobs.due_erasures(DEFAULT_TENANT) == ()


async def test_a_worker_that_looks_for_work_ends_what_is_overdue(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis, fill: Fill
) -> None:
    """It may be faster than the sweep."""
    job = await jobs.submit(await new_job())
    await client.hset(tenant_key(DEFAULT_TENANT, "job", job.job_id), "deadline_time_ms", 1)
    await fill()
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None
    assert (await jobs.read(DEFAULT_TENANT, job.job_id)).state is JobState.FAILED


async def test_new_work_is_refused(uploads: RedisUploadStore, new_job: MakeNewJob, fill: Fill) -> None:
    """Whoever sends a study hears that it is to come back."""
    await new_job()
    await fill()
    with pytest.raises(DependencyUnavailableError):
        await uploads.create_upload(DEFAULT_TENANT)
