"""Owns what must happen although nobody asks: overdue jobs end, and what has outlived its lifetime is erased."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from brainmets.gateway.job_ledger import JobLedger
from brainmets.gateway.jobs import DEFAULT_TENANT, Erasure, QueueDepth
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.artifact_store import ArtifactStore

# A job nobody works on ends at most this long after its deadline.
SWEEP_INTERVAL_S = 2.0
# Files that Redis does not know are rare, and every look lists what there is.
SEARCH_INTERVAL_S = 3600.0

_log = structlog.get_logger(__name__)


async def keep_house(
    jobs: RedisJobStore,
    artifacts: ArtifactStore,
    *,
    on_measured: Callable[[QueueDepth, JobLedger], None],
    on_unmeasured: Callable[[], None],
) -> None:
    """Sweep, erase and search for ever, and tell how much work there is and was, or that Redis does not say.

    Any number of processes may do so at a time.
    """
    # Beside each other: jobs must end in time although the artefact store hangs.
    await asyncio.gather(
        _repeat(lambda: _sweep(jobs, on_measured, on_unmeasured), SWEEP_INTERVAL_S),
        _repeat(lambda: _erase_due(jobs, artifacts), SWEEP_INTERVAL_S),
        _repeat(lambda: _search_strays(jobs, artifacts), SEARCH_INTERVAL_S),
    )


async def _repeat(duty: Callable[[], Awaitable[None]], interval_s: float) -> None:
    while True:
        try:
            await duty()
        except BrainmetsError as error:
            # Everything that was due stays due.
            _log.warning("sweep_failed", reason=error.reason, got=error.got)
        await asyncio.sleep(interval_s)


async def _sweep(
    jobs: RedisJobStore, on_measured: Callable[[QueueDepth, JobLedger], None], on_unmeasured: Callable[[], None]
) -> None:
    try:
        on_measured(await jobs.queue_depth(DEFAULT_TENANT), await jobs.ledger(DEFAULT_TENANT))
    except BrainmetsError:
        on_unmeasured()
        raise
    await jobs.sweep(DEFAULT_TENANT)


async def _erase_due(jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    for erasure in await jobs.due_erasures(DEFAULT_TENANT):
        await _erase(erasure, jobs, artifacts)


async def _erase(erasure: Erasure, jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    try:
        await artifacts.delete_prefix(erasure.prefix)
    except BrainmetsError as error:
        _log.warning("erasure_failed", prefix=erasure.prefix, reason=error.reason, got=error.got)
        # Else those that fail would soon be all that is looked at.
        await jobs.postpone_erasure(DEFAULT_TENANT, erasure)
    else:
        await jobs.confirm_erased(DEFAULT_TENANT, erasure)


async def _search_strays(jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    """Find the files of studies that Redis has lost: a failover or a restored backup knows less than the store."""
    for prefix in ("uploads/", "jobs/"):
        count = await jobs.forget_strays(DEFAULT_TENANT, await artifacts.list_folders(prefix))
        if count:
            _log.warning("strays_found", prefix=prefix, count=count)
