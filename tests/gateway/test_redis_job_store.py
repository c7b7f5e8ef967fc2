"""Jobs: accepted once, worked off by one holder at a time, and always ended."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from brainmets.gateway import redis_job_store
from brainmets.gateway.jobs import (
    DEFAULT_TENANT,
    Completion,
    Failure,
    FailureReason,
    JobState,
    NewJob,
    Progress,
    QueueDepth,
    Stage,
)
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.errors import (
    InternalError,
    InvalidArgumentError,
    InvalidJobStateError,
    JobCancelledError,
    OverloadedError,
    RequestIdReusedError,
    StaleLeaseError,
    UnknownJobError,
    UploadIncompleteError,
)
from job_cases import claim_expired, claim_now, completion_of, expire_lease

MakeNewJob = Callable[..., Awaitable[NewJob]]


# Submission.


async def test_accepted_job_is_queued_and_read_back(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """What was submitted is what is read: input and options."""
    request = await new_job(deadline_s=60)
    job = await jobs.submit(request)
    assert job == await jobs.read(DEFAULT_TENANT, job.job_id)
    assert (job.state, job.attempt, job.options) == (JobState.QUEUED, 0, b"options")
    assert job.files == request.upload.stored_files()
    assert job.input_sha256 == request.input_sha256


async def test_a_claim_has_the_trace_that_the_job_was_submitted_in(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A worker goes on with it; a job of before, or of a gateway that traces nothing, has none."""
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    await jobs.submit(dataclasses.replace(await new_job(), traceparent=traceparent))
    await jobs.submit(await new_job())
    assert [(await claim_now(jobs)).job.traceparent for _ in range(2)] == [traceparent, ""]


async def test_repeated_submit_is_the_same_job(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """After a lost reply the same request is answered with the job it made."""
    request = await new_job()
    assert await jobs.submit(request) == await jobs.submit(request)
    assert (await jobs.queue_depth(DEFAULT_TENANT)).queued == 1


async def test_parallel_submits_make_one_job(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The same bytes uploaded twice and submitted at once under one request_id are one job."""
    requests = [await new_job("same"), await new_job("same")]
    first, second = await asyncio.gather(*(jobs.submit(request) for request in requests))
    assert first == second
    assert (await jobs.queue_depth(DEFAULT_TENANT)).queued == 1


async def test_request_id_with_other_bytes_is_refused(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A request_id belongs to one study."""
    await jobs.submit(await new_job("same"))
    with pytest.raises(RequestIdReusedError):
        await jobs.submit(await new_job("same", b"other"))


async def test_request_id_with_other_options_is_refused(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A request_id belongs to one set of options."""
    await jobs.submit(await new_job("same"))
    with pytest.raises(RequestIdReusedError):
        await jobs.submit(dataclasses.replace(await new_job("same"), options=b"other"))


async def test_request_id_with_other_file_numbers_is_refused(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The job it made before has a result that names the other numbers."""
    await jobs.submit(await new_job("same"))
    request = await new_job("same")
    (file,) = request.upload.files
    upload = dataclasses.replace(request.upload, files=(dataclasses.replace(file, file_index=7),))
    with pytest.raises(RequestIdReusedError):
        await jobs.submit(dataclasses.replace(request, upload=upload))


async def test_upload_becomes_one_job(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A submitted upload cannot be submitted under another request_id."""
    request = await new_job()
    await jobs.submit(request)
    with pytest.raises(InvalidJobStateError):
        await jobs.submit(dataclasses.replace(request, request_id="another"))


async def test_incomplete_upload_is_refused(jobs: RedisJobStore, uploads: RedisUploadStore) -> None:
    """An upload without a closed file is not a study."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(UploadIncompleteError):
        await jobs.submit(NewJob(upload, "request", b"", 60))


async def test_upload_changed_since_it_was_read_is_refused(
    jobs: RedisJobStore, uploads: RedisUploadStore, new_job: MakeNewJob
) -> None:
    """The job's input is exactly what was checked."""
    request = await new_job()
    place = (DEFAULT_TENANT, request.upload.upload_id)
    await uploads.close_file(*place, file_index=0, last_part=f"{request.upload.prefix}0/0-a", sha256=b"b" * 32)
    with pytest.raises(UploadIncompleteError):
        await jobs.submit(request)


async def test_full_queue_refuses_new_jobs_only(
    jobs: RedisJobStore, new_job: MakeNewJob, limits: JobStoreLimits
) -> None:
    """Over capacity a new study is refused with a time to retry; a repeated one is answered."""
    requests = [await new_job() for _ in range(limits.max_queued_jobs + 1)]
    for request in requests[:-1]:
        await jobs.submit(request)
    with pytest.raises(OverloadedError):
        await jobs.submit(requests[-1])
    await jobs.submit(requests[0])


async def test_keys_hold_nothing_the_client_wrote(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """A patient's name in a request_id reaches no key, and every key is the tenant's."""
    await jobs.submit(await new_job("Mustermann^Erika"))
    keys = [key.decode() async for key in client.scan_iter()]
    assert not [key for key in keys if "Mustermann" in key or not key.startswith("brainmets:{default}:")]


async def test_job_takes_little_of_redis(jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis) -> None:
    """A job with its upload is at most 4 KiB of Redis's memory."""
    job = await jobs.submit(await new_job())
    keys = [f"brainmets:{{default}}:job:{job.job_id}", f"brainmets:{{default}}:upload:{job.upload_id}"]
    assert sum([await client.memory_usage(key) for key in keys]) <= 4096


# Claim, lease, fence.


async def test_jobs_are_claimed_in_order_of_arrival(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The oldest queued job comes first, and each to one worker only."""
    submitted = [(await jobs.submit(await new_job())).job_id for _ in range(3)]
    claimed = [(await claim_now(jobs)).job.job_id for _ in range(3)]
    assert claimed == submitted
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None


async def test_claimed_job_is_running(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A claim begins an attempt and tells the time left."""
    job = await jobs.submit(await new_job(deadline_s=60))
    claim = await claim_now(jobs)
    assert (claim.job.job_id, claim.job.state, claim.job.attempt) == (job.job_id, JobState.RUNNING, 1)
    assert 45 < claim.remaining_s <= 60


async def test_waiting_claim_wakes_for_a_new_job(
    jobs: RedisJobStore, new_job: MakeNewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that waits gets a job as soon as there is one."""
    monkeypatch.setattr(redis_job_store, "MAX_BLOCK_S", 20.0)
    request = await new_job()
    waiting = asyncio.create_task(claim_now(jobs, block_s=30))
    await asyncio.sleep(0.1)
    job = await jobs.submit(request)
    async with asyncio.timeout(15):  # a wait that only times out would take MAX_BLOCK_S
        assert (await waiting).job.job_id == job.job_id


async def test_claim_waits_no_longer_than_asked(jobs: RedisJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a job a claim ends after its time."""
    monkeypatch.setattr(redis_job_store, "MAX_BLOCK_S", 20.0)
    async with asyncio.timeout(15):
        assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0.1) is None


async def test_lost_lease_goes_to_another_worker_and_the_first_is_stale(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Only the worker with the newest fence can end the job, and its artefacts are the published ones."""
    await jobs.submit(await new_job())
    first = await claim_now(jobs)
    second = await claim_expired(jobs, client, first)
    assert (second.job.job_id, second.job.attempt) == (first.job.job_id, 2)
    assert first.prefix != second.prefix
    for late in (
        jobs.report_progress(first, Progress()),
        jobs.complete(first, completion_of(first)),
        jobs.release(first),
    ):
        with pytest.raises(StaleLeaseError):
            await late
    job = await jobs.complete(second, completion_of(second))
    assert job.artifacts[0].path.startswith(second.prefix)
    with pytest.raises(StaleLeaseError):
        await jobs.complete(first, completion_of(first))
    with pytest.raises(StaleLeaseError):
        await jobs.fail(first, Failure(FailureReason.INTERNAL))


async def test_a_claim_that_redis_forgets_is_stale(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """A failover, or a backup, rolls the record back: the next claim must not repeat what the first one holds."""
    await jobs.submit(await new_job())
    keys = [key async for key in client.scan_iter()]
    before = [await client.dump(key) for key in keys]
    first = await claim_now(jobs)
    for key, value in zip(keys, before, strict=True):
        await client.restore(key, 0, value, replace=True)
    second = await claim_now(jobs, worker="second")
    assert second.job.job_id == first.job.job_id
    assert second.prefix != first.prefix
    with pytest.raises(StaleLeaseError):
        await jobs.complete(first, completion_of(first))
    assert (await jobs.complete(second, completion_of(second))).artifacts[0].path.startswith(second.prefix)


async def test_a_job_that_was_ended_over_its_holders_head_is_no_more_the_holders(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """A failure that the store itself recorded is not taken for the one that the holder reports."""
    job = await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await client.zadd("brainmets:{default}:deadlines", {job.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    with pytest.raises(StaleLeaseError):
        await jobs.fail(claim, Failure(FailureReason.INTERNAL))


async def test_every_expired_lease_is_reclaimed_at_once(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Reclaiming one job does not renew the leases of the others."""
    submitted = [(await jobs.submit(await new_job())).job_id for _ in range(3)]
    for claim in [await claim_now(jobs) for _ in submitted]:
        await expire_lease(client, claim)
    assert [(await claim_now(jobs)).job.job_id for _ in submitted] == submitted


async def test_exhausted_attempts_end_the_job(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis, limits: JobStoreLimits
) -> None:
    """A study that kills every worker is given up after the allowed attempts."""
    job = await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    for _ in range(limits.max_attempts - 1):
        claim = await claim_expired(jobs, client, claim)
    await expire_lease(client, claim)
    assert await jobs.claim(DEFAULT_TENANT, "last", block_s=0) is None
    ended = await jobs.read(DEFAULT_TENANT, job.job_id)
    assert (ended.state, ended.failure) == (JobState.FAILED, Failure(FailureReason.ATTEMPTS_EXHAUSTED))
    assert ended.attempt == limits.max_attempts
    with pytest.raises(StaleLeaseError):
        await jobs.fail(claim, Failure(FailureReason.INTERNAL))


async def test_released_job_is_taken_next_and_costs_no_attempt(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A worker that is told to stop gives its job back ahead of the queue, under a new prefix."""
    await jobs.submit(await new_job())
    await jobs.submit(await new_job())
    first = await claim_now(jobs)
    await jobs.release(first)
    with pytest.raises(StaleLeaseError):
        await jobs.complete(first, completion_of(first))
    assert (await jobs.read(DEFAULT_TENANT, first.job.job_id)).state is JobState.QUEUED
    again = await claim_now(jobs)
    assert (again.job.job_id, again.job.attempt) == (first.job.job_id, 1)
    assert again.prefix != first.prefix


async def test_progress_is_seen(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """What a worker reports is in the job, and a change in its revision."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    progress = Progress(Stage.INFERRING, 3, 8)
    await jobs.report_progress(claim, progress)
    job = await jobs.read(DEFAULT_TENANT, claim.job.job_id)
    assert job.progress == progress
    assert job.revision > claim.job.revision


# Ends.


async def test_completed_job_holds_result_and_artefacts(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Bytes of the result and digests of the artefacts come back as they were."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    completion = completion_of(claim)
    job = await jobs.complete(claim, completion)
    assert job == await jobs.read(DEFAULT_TENANT, job.job_id)
    assert (job.state, job.result, job.artifacts) == (
        JobState.SUCCEEDED,
        completion.result,
        completion.artifacts,
    )


async def test_repeated_completion_has_the_same_answer(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """After a lost reply the same claim may complete again."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    first = await jobs.complete(claim, completion_of(claim))
    assert await jobs.complete(claim, completion_of(claim)) == first
    with pytest.raises(StaleLeaseError):
        await jobs.fail(claim, Failure(FailureReason.INTERNAL))


async def test_repeated_failure_has_the_same_answer(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A failure is recorded once, with its status."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    failure = Failure(FailureReason.INVALID_STUDY, b"\x08\x03")
    first = await jobs.fail(claim, failure)
    assert await jobs.fail(claim, failure) == first
    assert (first.state, first.failure) == (JobState.FAILED, failure)


async def test_result_without_bound_is_refused(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Redis never becomes a store of large objects."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    incompressible = b"".join(index.to_bytes(4, "big") for index in range(0, 2**32, 4099))
    with pytest.raises(InternalError):
        await jobs.complete(claim, Completion(incompressible, ()))


async def test_cancelled_queued_job_is_never_claimed(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Cancelling a waiting job ends it at once; doing it again changes nothing."""
    job = await jobs.submit(await new_job())
    cancelled = await jobs.cancel(DEFAULT_TENANT, job.job_id)
    assert cancelled.state is JobState.CANCELLED
    assert await jobs.cancel(DEFAULT_TENANT, job.job_id) == cancelled
    assert await jobs.queue_depth(DEFAULT_TENANT) == QueueDepth(0, 0, 0.0)
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None


async def test_cancelled_running_job_tells_its_worker(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Cancelling a running job ends it at once; whatever its worker says then is refused."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await jobs.cancel(DEFAULT_TENANT, claim.job.job_id)
    assert await jobs.queue_depth(DEFAULT_TENANT) == QueueDepth(0, 0, 0.0)
    for late in (
        jobs.report_progress(claim, Progress()),
        jobs.complete(claim, completion_of(claim)),
        jobs.fail(claim, Failure(FailureReason.INTERNAL)),
        jobs.release(claim),
    ):
        with pytest.raises(JobCancelledError):
            await late
    await expire_lease(client, claim)
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None


async def test_ended_job_cannot_be_cancelled(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A job that has ended is returned as it is."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    job = await jobs.complete(claim, completion_of(claim))
    assert await jobs.cancel(DEFAULT_TENANT, job.job_id) == job


async def test_overdue_queued_job_is_failed_by_the_sweep(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A job ends by its deadline also when no worker lives."""
    job = await jobs.submit(await new_job(deadline_s=0.01))
    await asyncio.sleep(0.02)
    await jobs.sweep(DEFAULT_TENANT)
    ended = await jobs.read(DEFAULT_TENANT, job.job_id)
    assert (ended.state, ended.failure) == (JobState.FAILED, Failure(FailureReason.DEADLINE_EXCEEDED))
    assert await jobs.queue_depth(DEFAULT_TENANT) == QueueDepth(0, 0, 0.0)


async def test_overdue_running_job_is_failed_by_the_sweep(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """A worker that overruns the deadline finds its claim stale."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await client.zadd("brainmets:{default}:deadlines", {claim.job.job_id: 1})
    await jobs.sweep(DEFAULT_TENANT)
    with pytest.raises(StaleLeaseError):
        await jobs.complete(claim, completion_of(claim))


async def test_overdue_job_is_not_given_to_a_worker(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A claim fails what is past its deadline and goes on to the next job."""
    late = await jobs.submit(await new_job(deadline_s=0.01))
    job = await jobs.submit(await new_job())
    await asyncio.sleep(0.02)
    assert (await claim_now(jobs)).job.job_id == job.job_id
    assert (await jobs.read(DEFAULT_TENANT, late.job_id)).state is JobState.FAILED


# Reading.


@pytest.mark.parametrize("job_id", ["", "0" * 32, "x", "a:b"])
async def test_unknown_job(jobs: RedisJobStore, job_id: str) -> None:
    """What SubmitStudy did not hand out is not known, whatever is asked about it."""
    for call in (jobs.read, jobs.cancel, jobs.delete):
        with pytest.raises(UnknownJobError):
            await call(DEFAULT_TENANT, job_id)


async def test_job_is_its_tenants(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Another tenant neither finds nor lists nor claims it."""
    job = await jobs.submit(await new_job())
    with pytest.raises(UnknownJobError):
        await jobs.read("other", job.job_id)
    assert await jobs.list_jobs("other", 10) == ((), "")
    assert await jobs.claim("other", "worker", block_s=0) is None


async def test_pages_hold_every_job_once_newest_first(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Pages join to the whole list, also when jobs are added and erased between them."""
    submitted = [(await jobs.submit(await new_job())).job_id for _ in range(4)]
    first, token = await jobs.list_jobs(DEFAULT_TENANT, 2)
    await jobs.submit(await new_job())
    await jobs.delete(DEFAULT_TENANT, first[-1].job_id)
    second, last_token = await jobs.list_jobs(DEFAULT_TENANT, 2, page_token=token)
    assert [job.job_id for job in first + second] == submitted[::-1]
    assert last_token == ""


async def test_list_leaves_results_and_inputs_out(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A listed job is the job without what is large."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    job = await jobs.complete(claim, completion_of(claim))
    assert (await jobs.list_jobs(DEFAULT_TENANT, 1))[0] == (dataclasses.replace(job, result=b"", files=()),)


@pytest.mark.parametrize("page_size", [0, -1, 501])
async def test_page_size_is_bounded(jobs: RedisJobStore, page_size: int) -> None:
    """A page holds 1 to 500 jobs."""
    with pytest.raises(InvalidArgumentError):
        await jobs.list_jobs(DEFAULT_TENANT, page_size)


async def test_watch_shows_each_stage_and_ends_with_the_final_state(
    jobs: RedisJobStore, new_job: MakeNewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher sees the job now, then its changes as they come, and the end."""
    monkeypatch.setattr(redis_job_store, "WATCH_INTERVAL_S", 20.0)
    job = await jobs.submit(await new_job())
    states = []
    async with asyncio.timeout(15):  # nudges, not the re-read, carry the changes
        async for seen in jobs.watch(DEFAULT_TENANT, job.job_id):
            states.append(seen.state)
            if seen.state is JobState.QUEUED:
                claim = await claim_now(jobs)
            elif seen.state is JobState.RUNNING:
                await jobs.complete(claim, completion_of(claim))
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]


async def test_watch_of_an_erased_job_ends(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A watcher is told when the job is erased under it."""
    job = await jobs.submit(await new_job())
    changes = jobs.watch(DEFAULT_TENANT, job.job_id)
    assert await anext(changes) == job
    await jobs.delete(DEFAULT_TENANT, job.job_id)
    with pytest.raises(UnknownJobError):
        await anext(changes)


async def test_queue_depth_counts_what_waits_and_what_runs(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Queued and running jobs are told apart; the age is the oldest waiting one's."""
    assert await jobs.queue_depth(DEFAULT_TENANT) == QueueDepth(0, 0, 0.0)
    for _ in range(3):
        await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await asyncio.sleep(0.05)
    depth = await jobs.queue_depth(DEFAULT_TENANT)
    assert (depth.queued, depth.running) == (2, 1)
    assert 0.05 <= depth.oldest_age_s < 30
    await jobs.complete(claim, completion_of(claim))
    assert (await jobs.queue_depth(DEFAULT_TENANT)).running == 0


@pytest.mark.parametrize("given_back", [True, False])
async def test_a_job_that_nobody_holds_is_queued(
    *, given_back: bool, jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Whether its worker gave it back or was killed: somebody must be told when no other takes it."""
    for _ in range(3):
        await jobs.submit(await new_job())
    left, _ = await claim_now(jobs), await claim_now(jobs)
    await asyncio.sleep(0.05)
    await jobs.submit(await new_job())
    await (jobs.release(left) if given_back else expire_lease(client, left))
    depth = await jobs.queue_depth(DEFAULT_TENANT)
    assert (depth.queued, depth.running) == (3, 1)
    assert depth.oldest_age_s >= 0.05
    await claim_now(jobs)
    assert (await jobs.queue_depth(DEFAULT_TENANT)).running == 2


async def test_a_job_that_waits_alone_has_an_age(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """Its worker was the only one."""
    await jobs.submit(await new_job())
    await expire_lease(client, await claim_now(jobs))
    await asyncio.sleep(0.05)
    depth = await jobs.queue_depth(DEFAULT_TENANT)
    assert (depth.queued, depth.running) == (1, 0)
    assert 0.05 <= depth.oldest_age_s < 30


async def test_jobs_that_nobody_holds_fill_the_queue(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis, limits: JobStoreLimits
) -> None:
    """They wait as the others do."""
    for _ in range(limits.max_queued_jobs):
        await jobs.submit(await new_job())
    held = [await claim_now(jobs) for _ in range(limits.max_queued_jobs)]
    for claim in held:
        await expire_lease(client, claim)
    with pytest.raises(OverloadedError):
        await jobs.submit(await new_job())
