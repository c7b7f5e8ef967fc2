"""The heartbeat keeps a lease while the event loop is busy, and tells when there is nothing left to keep."""

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
import redis
import redis.asyncio

import brainmets.gateway.heartbeat
from brainmets.gateway.heartbeat import Heartbeat
from brainmets.gateway.jobs import DEFAULT_TENANT, Claim, Completion, NewJob, Progress
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.imaging.errors import BrainmetsError, JobCancelledError, StaleLeaseError
from job_cases import CONSUMER, GROUP, QUEUE, claim_expired, claim_now, expire_lease
from redis_server import RedisServer

WAIT_S = 30.0
BEAT_S = 0.05
# Redis answers nothing for so long, unless it is told to go on.
PAUSE_S = 8.0


@pytest.fixture
async def claim(jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]]) -> Claim:
    """Return a claim on a fresh job."""
    await jobs.submit(await new_job())
    return await claim_now(jobs)


@pytest.fixture
def losses() -> queue.Queue[BrainmetsError]:
    """Collect what the heartbeat tells."""
    return queue.Queue()


@pytest.fixture
def heartbeat(
    redis_url: str,
    claim: Claim,
    limits: JobStoreLimits,
    losses: queue.Queue[BrainmetsError],
    monkeypatch: pytest.MonkeyPatch,
) -> Heartbeat:
    """Return the claim's heartbeat, quick and not yet begun."""
    monkeypatch.setattr(brainmets.gateway.heartbeat, "LONGEST_PAUSE_S", BEAT_S)
    return Heartbeat(redis_url, claim, lease_s=limits.lease_s, on_lost=losses.put)


def wait_until_renewed(redis_url: str, limits: JobStoreLimits) -> None:
    """Return once the claim's lease does not run out; blocks the event loop meanwhile."""
    give_up = time.monotonic() + WAIT_S
    with redis.Redis.from_url(redis_url) as client:
        while _idle_ms(client) >= 1000 * limits.lease_s:
            assert time.monotonic() < give_up, "the lease is not renewed"
            time.sleep(0.01)


def _idle_ms(client: redis.Redis) -> int:
    (entry,) = client.xpending_range(QUEUE, GROUP, "-", "+", 1, CONSUMER)
    return int(entry["time_since_delivered"])


async def test_lease_is_kept_while_the_event_loop_is_blocked(
    heartbeat: Heartbeat,
    redis_url: str,
    claim: Claim,
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    limits: JobStoreLimits,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """A step that computes for longer than the lease does not lose the job."""
    with heartbeat:
        for _ in range(2):
            await expire_lease(client, claim)
            wait_until_renewed(redis_url, limits)
            assert await jobs.claim(DEFAULT_TENANT, "second", block_s=0) is None
    assert losses.empty()


async def test_lease_runs_out_after_the_heartbeat(
    heartbeat: Heartbeat, claim: Claim, client: redis.asyncio.Redis, jobs: RedisJobStore
) -> None:
    """Nothing goes on renewing when the block has been left."""
    with heartbeat:
        pass
    await expire_lease(client, claim)
    await asyncio.sleep(4 * BEAT_S)
    assert await jobs.claim(DEFAULT_TENANT, "second", block_s=0) is not None


async def test_cancellation_is_told_once(
    heartbeat: Heartbeat, claim: Claim, jobs: RedisJobStore, losses: queue.Queue[BrainmetsError]
) -> None:
    """The worker of a cancelled job hears of it within a heartbeat, once."""
    with heartbeat:
        await jobs.cancel(DEFAULT_TENANT, claim.job.job_id)
        assert isinstance(losses.get(timeout=WAIT_S), JobCancelledError)
        await asyncio.sleep(4 * BEAT_S)
    assert losses.empty()


async def test_who_leaves_waits_for_no_redis_and_hears_nothing_more(
    heartbeat: Heartbeat, claim: Claim, jobs: RedisJobStore, redis_url: str, losses: queue.Queue[BrainmetsError]
) -> None:
    """The event loop runs other studies, and the attempt has an outcome of its own by now."""
    await jobs.cancel(DEFAULT_TENANT, claim.job.job_id)
    with redis.Redis.from_url(redis_url) as operator:
        operator.client_pause(int(1000 * PAUSE_S), all=False)
        with heartbeat:
            wait_until_a_beat_hangs(operator)
            began_s = time.monotonic()
        left_s = time.monotonic() - began_s
        operator.client_unpause()
        await wait_until_ended("heartbeat")
    assert left_s < PAUSE_S / 2
    assert losses.empty()


def wait_until_a_beat_hangs(operator: redis.Redis) -> None:
    """Return once a client waits for Redis to go on."""
    give_up = time.monotonic() + WAIT_S
    while not any("b" in client["flags"] for client in operator.client_list()):
        assert time.monotonic() < give_up, "no beat came"
        time.sleep(0.01)


async def wait_until_ended(name: str) -> None:
    """Return once no thread of that name is left."""
    async with asyncio.timeout(WAIT_S):
        while any(thread.name == name for thread in threading.enumerate()):  # noqa: ASYNC110 -- threads tell nobody
            await asyncio.sleep(0.01)


async def test_lost_lease_is_told(
    heartbeat: Heartbeat,
    claim: Claim,
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """A worker that was frozen past its lease hears that the job is another's now."""
    await claim_expired(jobs, client, claim)
    with heartbeat:
        assert isinstance(losses.get(timeout=WAIT_S), StaleLeaseError)


async def test_job_that_has_ended_is_told(
    heartbeat: Heartbeat, claim: Claim, jobs: RedisJobStore, losses: queue.Queue[BrainmetsError]
) -> None:
    """There is no lease on a completed job."""
    with heartbeat:
        await jobs.complete(claim, Completion(b"result", ()))
        assert isinstance(losses.get(timeout=WAIT_S), StaleLeaseError)


async def test_unreachable_redis_is_a_lost_lease_after_its_time(
    redis_url: str,
    redis_server: RedisServer,
    claim: Claim,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """A short outage is borne; one as long as the lease means that another worker may have the job."""
    lease_s = 0.5
    began_s = time.monotonic()
    with Heartbeat(redis_url, claim, lease_s=lease_s, on_lost=losses.put):
        redis_server.kill()
        try:
            assert isinstance(losses.get(timeout=WAIT_S), StaleLeaseError)
            assert time.monotonic() - began_s > lease_s
        finally:
            redis_server.start()


async def test_short_outage_is_borne(
    heartbeat: Heartbeat,
    redis_server: RedisServer,
    claim: Claim,
    client: redis.asyncio.Redis,
    jobs: RedisJobStore,
    limits: JobStoreLimits,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """Redis restarted within the lease: the claim holds."""
    with heartbeat:
        redis_server.kill()
        await asyncio.sleep(4 * BEAT_S)
        redis_server.start()
        await expire_lease(client, claim)
        wait_until_renewed(redis_server.url, limits)
        await jobs.report_progress(claim, Progress())
    assert losses.empty()
