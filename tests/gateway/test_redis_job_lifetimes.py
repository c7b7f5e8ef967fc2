"""Jobs end up forgotten: cached, outlived, erased; and Redis itself fails."""

import asyncio
import dataclasses
import re
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from brainmets.gateway.heartbeat import BEATS_PER_LEASE, LONGEST_PAUSE_S
from brainmets.gateway.jobs import (
    DEFAULT_TENANT,
    Job,
    JobState,
    NewJob,
    Upload,
)
from brainmets.gateway.redis_connection import read_script
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.errors import (
    DependencyUnavailableError,
    InvalidJobStateError,
    JobCancelledError,
    RequestIdReusedError,
    UnknownJobError,
    UnknownUploadError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.runtime.settings import LONGEST_LEASE_S, SettingsError, WorkerSettings, load_settings
from job_cases import CACHE_KEY, claim_now, completion_of, expire_lease
from redis_server import RedisServer

MakeNewJob = Callable[..., Awaitable[NewJob]]


async def completed(jobs: RedisJobStore, request: NewJob, *, from_cache: bool = False) -> Job:
    """Submit, claim and complete a job."""
    await jobs.submit(request)
    claim = await claim_now(jobs)
    return await jobs.complete(claim, dataclasses.replace(completion_of(claim), from_cache=from_cache))


async def test_cached_result_is_the_newest_computed_job_with_the_key(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A result is found by its key, in its own tenant only, until it is evicted."""
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) is None
    await completed(jobs, await new_job())
    job = await completed(jobs, await new_job())
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) == job
    assert await jobs.cached_result("other", CACHE_KEY) is None
    await completed(jobs, await new_job(), from_cache=True)
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) == job
    await jobs.evict(DEFAULT_TENANT, CACHE_KEY)
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) is None


async def test_a_cache_entry_ends_with_the_job_that_computed_it(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """However often it is asked for, or a wrong result would never leave; a job that it answered lives on."""
    first = await completed(jobs, await new_job())
    second = await completed(jobs, await new_job(), from_cache=True)
    await client.zadd("brainmets:{default}:results", {first.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) is None
    assert await jobs.read(DEFAULT_TENANT, second.job_id) == second


async def test_erasing_a_job_from_the_cache_evicts_its_result(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Whoever has it erased wants no copy of it handed out."""
    await completed(jobs, await new_job())
    second = await completed(jobs, await new_job(), from_cache=True)
    await jobs.delete(DEFAULT_TENANT, second.job_id)
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) is None


async def test_deleted_job_leaves_nothing_but_the_list_of_erasures(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """No key of the tenant names the job afterwards, except what is still to be erased."""
    job = await completed(jobs, await new_job())
    erasures = await jobs.delete(DEFAULT_TENANT, job.job_id)
    assert {erasure.prefix for erasure in erasures} == {job.prefix, f"uploads/{job.upload_id}/"}
    keys = {key.decode().removeprefix("brainmets:{default}:") async for key in client.scan_iter()}
    assert keys == {"queue", "sequence", "erasures", "ledger"}
    assert await client.xlen("brainmets:{default}:queue") == 0


async def test_deleting_a_running_job_cancels_it(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Its worker is told to stop and nobody else gets it."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await jobs.delete(DEFAULT_TENANT, claim.job.job_id)
    with pytest.raises(JobCancelledError):
        await jobs.complete(claim, completion_of(claim))
    await expire_lease(client, claim)
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None


async def test_request_id_of_a_deleted_job_is_free(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """After an erasure the same study may be sent again under the same request_id."""
    job = await completed(jobs, await new_job("same"))
    await jobs.delete(DEFAULT_TENANT, job.job_id)
    assert (await jobs.submit(await new_job("same"))).job_id != job.job_id


async def test_lifetimes_begin_at_the_end(
    client: redis.asyncio.Redis, new_job: MakeNewJob, uploads: RedisUploadStore
) -> None:
    """First the input is to be erased, then the job is forgotten, each its lifetime after the end."""
    jobs = RedisJobStore(client, JobStoreLimits(input_lifetime_s=1000, result_lifetime_s=2000))
    job = await completed(jobs, await new_job())
    assert job.expire_time_ms == job.update_time_ms + 2_000_000
    due = {index: await client.zscore(f"brainmets:{{default}}:{index}", job.job_id) for index in ("inputs", "results")}
    assert due == {"inputs": job.update_time_ms + 1_000_000, "results": job.expire_time_ms}
    await jobs.sweep(DEFAULT_TENANT)
    assert not await client.exists("brainmets:{default}:erasures")
    await client.zadd("brainmets:{default}:inputs", {job.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    assert await client.zrange("brainmets:{default}:erasures", 0, -1) == [f"uploads/{job.upload_id}/".encode()]
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) == dataclasses.replace(job, files=())
    await client.zadd("brainmets:{default}:results", {job.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    with pytest.raises(UnknownJobError):
        await jobs.read(DEFAULT_TENANT, job.job_id)
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload(DEFAULT_TENANT, job.upload_id)
    assert await jobs.cached_result(DEFAULT_TENANT, CACHE_KEY) is None
    assert job.prefix.encode() in await client.zrange("brainmets:{default}:erasures", 0, -1)


async def test_a_job_whose_input_is_erased_costs_the_same_however_many_files_it_had(
    jobs: RedisJobStore, uploads: RedisUploadStore, client: redis.asyncio.Redis
) -> None:
    """A series is hundreds of files, and results live for a day."""

    async def kept_bytes(files: int) -> int:
        upload = await many_files(uploads, files)
        job = await completed(jobs, NewJob(upload, upload.upload_id, b"options", 60))
        await client.zadd("brainmets:{default}:inputs", {job.job_id: 1})
        await jobs.sweep(DEFAULT_TENANT)
        assert await uploads.read_upload(DEFAULT_TENANT, upload.upload_id) == dataclasses.replace(
            upload, files=(), job_id=job.job_id
        )
        keys = (f"job:{job.job_id}", f"upload:{upload.upload_id}")
        return sum([await client.memory_usage(f"brainmets:{{default}}:{key}") for key in keys])

    assert await kept_bytes(100) <= 1.1 * await kept_bytes(1)


async def many_files(uploads: RedisUploadStore, count: int) -> Upload:
    """Return a complete upload of so many files."""
    place = (DEFAULT_TENANT, (await uploads.create_upload(DEFAULT_TENANT)).upload_id)
    for index in range(count):
        await uploads.open_file(*place, file_index=index, media_type=MediaType.DICOM, sequence=None, offset_bytes=0)
        part = f"uploads/{place[1]}/{index}/0-{index:08x}"
        await uploads.advance_file(*place, file_index=index, offset_bytes=0, path=part, size_bytes=1)
        await uploads.close_file(*place, file_index=index, last_part=part, sha256=b"a" * 32)
    return await uploads.read_upload(*place)


@pytest.mark.parametrize("request_id", ["same", "other"])
async def test_a_request_is_the_same_after_its_input_was_erased(
    request_id: str,
    jobs: RedisJobStore,
    uploads: RedisUploadStore,
    new_job: MakeNewJob,
    client: redis.asyncio.Redis,
) -> None:
    """By its upload and by its bytes; with other options, or under another name, it is another one."""
    request = await new_job("same")
    job = await completed(jobs, request)
    await client.zadd("brainmets:{default}:inputs", {job.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    again = dataclasses.replace(
        request, request_id=request_id, upload=await uploads.read_upload(DEFAULT_TENANT, job.upload_id)
    )
    if request_id == "other":
        with pytest.raises(InvalidJobStateError):
            await jobs.submit(again)
        return
    assert await jobs.submit(again) == await jobs.submit(await new_job("same")) == dataclasses.replace(job, files=())
    with pytest.raises(RequestIdReusedError):
        await jobs.submit(dataclasses.replace(again, options=b"other options"))
    with pytest.raises(RequestIdReusedError):
        await jobs.submit(await new_job("same", content=b"other voxels"))


async def test_input_of_a_waiting_job_outlives_every_lifetime(client: redis.asyncio.Redis, new_job: MakeNewJob) -> None:
    """Lifetimes never take the input of a job that has not ended."""
    jobs = RedisJobStore(client, JobStoreLimits(input_lifetime_s=0, result_lifetime_s=0))
    job = await jobs.submit(await new_job())
    await asyncio.sleep(0.01)
    await jobs.sweep(DEFAULT_TENANT)
    assert await jobs.read(DEFAULT_TENANT, job.job_id) == job
    assert not await client.exists("brainmets:{default}:erasures")


async def test_erasure_is_repeated_until_confirmed(
    jobs: RedisJobStore, complete_upload: Callable[..., Awaitable[Upload]], client: redis.asyncio.Redis
) -> None:
    """A due prefix is returned until it is confirmed; an old confirmation does not touch a newer entry."""
    upload = await complete_upload()
    await client.zadd("brainmets:{default}:erasures", {upload.prefix: 1})
    due = await jobs.due_erasures(DEFAULT_TENANT)
    assert due == await jobs.due_erasures(DEFAULT_TENANT)
    await client.zadd("brainmets:{default}:erasures", {upload.prefix: 2})
    for erasure in due:
        await jobs.confirm_erased(DEFAULT_TENANT, erasure)
    newer = await jobs.due_erasures(DEFAULT_TENANT)
    assert [erasure.due_time_ms for erasure in newer] == [2]
    for erasure in newer:
        await jobs.confirm_erased(DEFAULT_TENANT, erasure)
    assert await jobs.due_erasures(DEFAULT_TENANT) == ()


async def test_an_erasure_that_fails_is_put_off_for_longer_each_time(
    jobs: RedisJobStore, client: redis.asyncio.Redis
) -> None:
    """By as long as it has been overdue, ten minutes at most; how long that is in all stays known until it is done."""
    index = "brainmets:{default}:erasures"
    seconds, microseconds = await client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    await client.zadd(index, {"jobs/a/": now_ms - 60_000, "jobs/b/": now_ms - 3_600_000})
    for erasure in await jobs.due_erasures(DEFAULT_TENANT):
        await jobs.postpone_erasure(DEFAULT_TENANT, erasure)
    assert await jobs.due_erasures(DEFAULT_TENANT) == ()
    assert await client.zscore(index, "jobs/a/") == pytest.approx(now_ms + 60_000, abs=30_000)
    assert await client.zscore(index, "jobs/b/") == pytest.approx(now_ms + 600_000, abs=30_000)
    assert (await jobs.queue_depth(DEFAULT_TENANT)).erasure_overdue_s == pytest.approx(3600, abs=30)
    await client.zadd(index, {"jobs/a/": 1, "jobs/b/": 1})
    for erasure in await jobs.due_erasures(DEFAULT_TENANT):
        await jobs.confirm_erased(DEFAULT_TENANT, erasure)
    assert (await jobs.queue_depth(DEFAULT_TENANT)).erasure_overdue_s == 0


async def test_an_erasure_that_was_put_on_the_list_again_is_not_put_off(
    jobs: RedisJobStore, client: redis.asyncio.Redis
) -> None:
    """Another process has erased it, or somebody wants it erased anew."""
    index = "brainmets:{default}:erasures"
    await client.zadd(index, {"jobs/a/": 1})
    (erasure,) = await jobs.due_erasures(DEFAULT_TENANT)
    await client.zadd(index, {"jobs/a/": 2})
    await jobs.postpone_erasure(DEFAULT_TENANT, erasure)
    assert await client.zscore(index, "jobs/a/") == 2


def test_whoever_writes_to_an_erased_prefix_has_stopped_when_it_is_erased_at_last() -> None:
    """The last beat within a lease may be slow to connect and to answer; what is under way then has as long again."""
    grace = re.search(r"ERASURE_GRACE_MS = (\d+)", read_script("sweep"))
    assert grace
    pause_s = min(LONGEST_LEASE_S / BEATS_PER_LEASE, LONGEST_PAUSE_S)
    stopped_s = LONGEST_LEASE_S + pause_s + 2 * LONGEST_LEASE_S / BEATS_PER_LEASE
    assert stopped_s + 15 < int(grace[1]) / 1000


@pytest.mark.parametrize("lease_s", ["30.1", "0", "inf"])
def test_a_lease_that_outlives_erasures_is_refused(lease_s: str) -> None:
    """With words that say what is allowed."""
    environment = {"BRAINMETS_ARTIFACT_URL": "file:///data", "BRAINMETS_LEASE_S": lease_s}
    with pytest.raises(SettingsError, match="BRAINMETS_LEASE_S: Input should be"):
        load_settings(WorkerSettings, environment)


async def test_folders_without_a_record_are_strays(
    jobs: RedisJobStore, new_job: MakeNewJob, complete_upload: Callable[..., Awaitable[Upload]]
) -> None:
    """Those of jobs and uploads are not, ended or not; what cannot be ours is left alone."""
    upload, ended, waiting = await complete_upload(), await completed(jobs, await new_job()), await new_job()
    job = await jobs.submit(waiting)
    ours = (upload.prefix, ended.prefix, f"uploads/{ended.upload_id}/", job.prefix, waiting.upload.prefix)
    others = ("uploads/lost+found/", "jobs/", f"uploads/{'a' * 31}/", f"other/{'a' * 32}/")
    assert await jobs.forget_strays(DEFAULT_TENANT, ours + others) == 0
    assert await jobs.forget_strays(DEFAULT_TENANT, (f"uploads/{'a' * 32}/", f"jobs/{'b' * 32}/")) == 2


async def test_a_stray_is_due_an_hour_after_it_was_first_found(
    jobs: RedisJobStore, client: redis.asyncio.Redis
) -> None:
    """However many processes look how often; by then a Redis that was started with wrong data can be another one."""
    stray = f"uploads/{'a' * 32}/"
    now_s, _ = await client.time()
    assert await jobs.forget_strays(DEFAULT_TENANT, (stray,)) == 1
    due_ms = await client.zscore("brainmets:{default}:erasures", stray)
    assert due_ms == pytest.approx((now_s + 3600) * 1000, abs=30_000)
    assert await jobs.forget_strays(DEFAULT_TENANT, (stray,)) == 0
    assert await client.zscore("brainmets:{default}:erasures", stray) == due_ms


async def test_an_erased_job_is_no_stray(jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis) -> None:
    """Its files are erased when they were to be, not later."""
    job = await completed(jobs, await new_job())
    await jobs.delete(DEFAULT_TENANT, job.job_id)
    due_ms = await client.zscore("brainmets:{default}:erasures", job.prefix)
    assert await jobs.forget_strays(DEFAULT_TENANT, (job.prefix,)) == 0
    assert await client.zscore("brainmets:{default}:erasures", job.prefix) == due_ms


# Faults of Redis itself.


async def test_full_redis_refuses_a_job_whole(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Without memory a submit is refused as worth retrying, and leaves nothing half done."""
    request = await new_job()
    job = await jobs.submit(await new_job())
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(DependencyUnavailableError):
            await jobs.submit(request)
        assert [listed.job_id for listed in (await jobs.list_jobs(DEFAULT_TENANT, 10))[0]] == [job.job_id]
    finally:
        await client.config_set("maxmemory", "0")
    assert (await jobs.submit(request)).state is JobState.QUEUED


async def test_killed_redis_comes_back_with_its_jobs(
    redis_server: RedisServer, jobs: RedisJobStore, new_job: MakeNewJob
) -> None:
    """After kill -9 and a restart queued and claimed jobs are there, and the old claim still holds."""
    held, waiting = [await jobs.submit(await new_job()) for _ in range(2)]
    claim = await claim_now(jobs)
    redis_server.kill()
    with pytest.raises(DependencyUnavailableError):
        await jobs.read(DEFAULT_TENANT, waiting.job_id)
    redis_server.start()
    assert await jobs.read(DEFAULT_TENANT, waiting.job_id) == waiting
    assert await jobs.read(DEFAULT_TENANT, held.job_id) == claim.job
    assert (await jobs.complete(claim, completion_of(claim))).state is JobState.SUCCEEDED
    assert (await claim_now(jobs)).job.job_id == waiting.job_id
