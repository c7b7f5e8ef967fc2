"""Every accepted job is counted once when it ends, whoever ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from brainmets.gateway.job_ledger import JobEnd, JobLedger, ledger_from_fields
from brainmets.gateway.jobs import DEFAULT_TENANT, Failure, FailureReason, NewJob
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.runtime.metric_contract import TURNAROUND_BUCKETS_S
from job_cases import claim_expired, claim_now, completion_of, expire_lease

MakeNewJob = Callable[..., Awaitable[NewJob]]
OVERDUE_S = 0.01


async def ends(jobs: RedisJobStore) -> dict[JobEnd, int]:
    """Return how jobs ended."""
    return dict((await jobs.ledger(DEFAULT_TENANT)).ended)


async def test_nothing_is_counted_before_the_first_job(jobs: RedisJobStore) -> None:
    """An empty ledger is one."""
    assert await jobs.ledger(DEFAULT_TENANT) == JobLedger()


async def test_a_request_that_is_repeated_is_accepted_once(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The client that lost an answer submits no second study."""
    request = await new_job()
    await jobs.submit(request)
    await jobs.submit(request)
    assert (await jobs.ledger(DEFAULT_TENANT)).accepted == 1


async def test_a_completion_that_is_repeated_ends_a_job_once(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Neither does a worker that lost an answer."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    await jobs.complete(claim, completion_of(claim))
    await jobs.complete(claim, completion_of(claim))
    assert await ends(jobs) == {JobEnd("succeeded", "none", "running"): 1}


async def test_a_failure_is_counted_by_its_reason(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The worker's word, once."""
    await jobs.submit(await new_job())
    claim = await claim_now(jobs)
    for _ in range(2):
        await jobs.fail(claim, Failure(FailureReason.INVALID_STUDY))
    assert await ends(jobs) == {JobEnd("failed", "invalid_study", "running"): 1}


async def test_a_job_cancelled_before_a_worker_had_it_is_counted(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """No worker ever knows of it."""
    job = await jobs.submit(await new_job())
    for _ in range(2):
        await jobs.cancel(DEFAULT_TENANT, job.job_id)
    assert await ends(jobs) == {JobEnd("cancelled", "none", "queued"): 1}


async def test_a_job_erased_while_it_runs_is_counted_as_cancelled(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """Its record is gone; that it ended is not."""
    job = await jobs.submit(await new_job())
    await claim_now(jobs)
    await jobs.delete(DEFAULT_TENANT, job.job_id)
    assert await ends(jobs) == {JobEnd("cancelled", "none", "running"): 1}


async def test_erasing_a_job_that_has_ended_counts_nothing(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """It ended once."""
    job = await jobs.submit(await new_job())
    await jobs.cancel(DEFAULT_TENANT, job.job_id)
    await jobs.delete(DEFAULT_TENANT, job.job_id)
    assert await ends(jobs) == {JobEnd("cancelled", "none", "queued"): 1}


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_job_that_the_sweep_ends_is_counted(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis, *, claimed: bool
) -> None:
    """At its deadline, whether a worker has it or not; before the sweep it is overdue."""
    job = await jobs.submit(await new_job())
    if claimed:
        await claim_now(jobs)
    await client.zadd("brainmets:{default}:deadlines", {job.job_id: 1})
    assert (await jobs.queue_depth(DEFAULT_TENANT)).overdue == 1
    await jobs.sweep(DEFAULT_TENANT)
    assert await ends(jobs) == {JobEnd("failed", "deadline_exceeded", "running" if claimed else "queued"): 1}
    assert (await jobs.queue_depth(DEFAULT_TENANT)).overdue == 0


async def test_a_job_that_a_claim_finds_overdue_is_counted(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """A worker may be faster than the sweep, and ends what it cannot begin."""
    await jobs.submit(await new_job(deadline_s=OVERDUE_S))
    await asyncio.sleep(2 * OVERDUE_S)
    assert await jobs.claim(DEFAULT_TENANT, "worker", block_s=0) is None
    assert await ends(jobs) == {JobEnd("failed", "deadline_exceeded", "queued"): 1}


async def test_exhausted_attempts_are_counted(client: redis.asyncio.Redis, new_job: MakeNewJob) -> None:
    """Its workers were lost, and none of them could count anything."""
    jobs = RedisJobStore(client, JobStoreLimits(max_attempts=2, lease_s=60.0))
    await jobs.submit(await new_job())
    second = await claim_expired(jobs, client, await claim_now(jobs))
    await expire_lease(client, second)
    assert await jobs.claim(DEFAULT_TENANT, "third", block_s=0) is None
    assert await ends(jobs) == {JobEnd("failed", "attempts_exhausted", "running"): 1}


async def test_a_turnaround_is_counted_at_its_bound(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """By Redis' clock alone, so that a job that was accepted 200 s ago took as long."""
    job = await jobs.submit(await new_job())
    await client.hincrby(f"brainmets:{{default}}:job:{job.job_id}", "create_time_ms", -200_000)
    await jobs.cancel(DEFAULT_TENANT, job.job_id)
    turnarounds = (await jobs.ledger(DEFAULT_TENANT)).turnarounds["cancelled"]
    assert turnarounds.counts == {300_000: 1}
    assert turnarounds.total_s == pytest.approx(200, abs=5)


async def test_a_turnaround_beyond_all_bounds_is_counted(
    jobs: RedisJobStore, new_job: MakeNewJob, client: redis.asyncio.Redis
) -> None:
    """A deadline may be a day away."""
    job = await jobs.submit(await new_job())
    beyond_ms = -round(2000 * TURNAROUND_BUCKETS_S[-1])
    await client.hincrby(f"brainmets:{{default}}:job:{job.job_id}", "create_time_ms", beyond_ms)
    await jobs.cancel(DEFAULT_TENANT, job.job_id)
    assert (await jobs.ledger(DEFAULT_TENANT)).turnarounds["cancelled"].counts == {float("inf"): 1}


async def test_what_was_accepted_has_ended_or_is_outstanding(jobs: RedisJobStore, new_job: MakeNewJob) -> None:
    """The invariant behind the objective that every accepted job ends."""
    submitted = [await jobs.submit(await new_job()) for _ in range(5)]
    claims = [await claim_now(jobs) for _ in range(3)]
    await jobs.complete(claims[0], completion_of(claims[0]))
    await jobs.release(claims[1])
    await jobs.cancel(DEFAULT_TENANT, submitted[4].job_id)
    ledger, depth = await jobs.ledger(DEFAULT_TENANT), await jobs.queue_depth(DEFAULT_TENANT)
    assert sum(ledger.ended.values()) == 2
    assert ledger.accepted == sum(ledger.ended.values()) + depth.queued + depth.running


def test_fields_of_a_newer_version_are_left_alone() -> None:
    """Two versions run side by side during an update."""
    fields = {b"accepted": b"2", b"ended:failed:internal:running": b"1", b"rejected:by:whom:ever": b"7"}
    assert ledger_from_fields(fields) == JobLedger(2, {JobEnd("failed", "internal", "running"): 1})
