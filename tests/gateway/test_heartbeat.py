"""The heartbeat keeps a lease while the event loop is busy, and tells when there is nothing left to keep."""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable

import pytest

from brainmets.gateway.heartbeat import Heartbeat
from brainmets.gateway.jobs import DEFAULT_TENANT, Claim, Completion, NewJob
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.imaging.errors import BrainmetsError, JobCancelledError, StaleLeaseError
from redis_server import RedisServer

WAIT_S = 15.0


@pytest.fixture
async def claim(jobs: RedisJobStore, new_job: Callable[..., Awaitable[NewJob]]) -> Claim:
    """Return a claim on a fresh job."""
    await jobs.submit(await new_job())
    claim = await jobs.claim(DEFAULT_TENANT, "worker", block_s=0)
    assert claim is not None
    return claim


@pytest.fixture
def losses() -> queue.Queue[BrainmetsError]:
    """Collect what the heartbeat tells."""
    return queue.Queue()


@pytest.fixture
def heartbeat(redis_url: str, claim: Claim, limits: JobStoreLimits, losses: queue.Queue[BrainmetsError]) -> Heartbeat:
    """Return the claim's heartbeat, not yet begun."""
    return Heartbeat(redis_url, claim, lease_s=limits.lease_s, on_lost=losses.put)


async def test_lease_is_kept_while_the_event_loop_is_blocked(
    heartbeat: Heartbeat, jobs: RedisJobStore, limits: JobStoreLimits, losses: queue.Queue[BrainmetsError]
) -> None:
    """A step that computes for longer than the lease does not lose the job."""
    with heartbeat:
        time.sleep(limits.lease_s * 2)  # noqa: ASYNC251 -- blocks the loop on purpose
        assert await jobs.claim(DEFAULT_TENANT, "second", block_s=0) is None
    assert losses.empty()


async def test_lease_runs_out_after_the_heartbeat(
    heartbeat: Heartbeat, jobs: RedisJobStore, limits: JobStoreLimits
) -> None:
    """Nothing goes on renewing when the block has been left."""
    with heartbeat:
        pass
    await asyncio.sleep(limits.lease_s + 0.02)
    assert await jobs.claim(DEFAULT_TENANT, "second", block_s=0) is not None


async def test_cancellation_is_told_once(
    heartbeat: Heartbeat, claim: Claim, jobs: RedisJobStore, losses: queue.Queue[BrainmetsError]
) -> None:
    """The worker of a cancelled job hears of it within a heartbeat, once."""
    with heartbeat:
        await jobs.cancel(DEFAULT_TENANT, claim.job.job_id)
        assert isinstance(losses.get(timeout=WAIT_S), JobCancelledError)
        await asyncio.sleep(0.2)
    assert losses.empty()


async def test_lost_lease_is_told(
    heartbeat: Heartbeat,
    jobs: RedisJobStore,
    limits: JobStoreLimits,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """A worker that was frozen past its lease hears that the job is another's now."""
    await asyncio.sleep(limits.lease_s + 0.02)
    assert await jobs.claim(DEFAULT_TENANT, "second", block_s=0) is not None
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
    heartbeat: Heartbeat,
    redis_server: RedisServer,
    limits: JobStoreLimits,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """A short outage is borne; one as long as the lease means that another worker may have the job."""
    with heartbeat:
        redis_server.kill()
        try:
            await asyncio.sleep(limits.lease_s / 2)
            assert losses.empty()
            assert isinstance(losses.get(timeout=WAIT_S), StaleLeaseError)
        finally:
            redis_server.start()


async def test_short_outage_is_borne(
    heartbeat: Heartbeat,
    redis_server: RedisServer,
    claim: Claim,
    jobs: RedisJobStore,
    losses: queue.Queue[BrainmetsError],
) -> None:
    """Redis restarted within the lease: the claim holds."""
    with heartbeat:
        redis_server.kill()
        redis_server.start()
        await asyncio.sleep(0.2)
        await jobs.renew(claim)
    assert losses.empty()
