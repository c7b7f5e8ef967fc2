"""Owns what must happen although nobody asks: overdue jobs end, and what has outlived its lifetime is erased."""

import asyncio
from collections.abc import Callable

import structlog

from brainmets.gateway.job_ledger import JobLedger
from brainmets.gateway.jobs import DEFAULT_TENANT, Erasure, QueueDepth
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.artifact_store import ArtifactStore

# A job nobody works on ends at most this long after its deadline.
SWEEP_INTERVAL_S = 2.0

_log = structlog.get_logger(__name__)


async def keep_house(
    jobs: RedisJobStore, artifacts: ArtifactStore, *, on_measured: Callable[[QueueDepth, JobLedger], None]
) -> None:
    """Sweep and erase for ever, and tell how much work there is and was.

    Any number of processes may do so at a time.
    """
    # Beside each other: jobs must end in time although the artefact store hangs.
    await asyncio.gather(_keep_sweeping(jobs, on_measured), _keep_erasing(jobs, artifacts))


async def _keep_sweeping(jobs: RedisJobStore, on_measured: Callable[[QueueDepth, JobLedger], None]) -> None:
    while True:
        try:
            on_measured(await jobs.queue_depth(DEFAULT_TENANT), await jobs.ledger(DEFAULT_TENANT))
            await jobs.sweep(DEFAULT_TENANT)
        except BrainmetsError as error:
            # Everything that was due stays due.
            _log.warning("sweep_failed", reason=error.reason, got=error.got)
        await asyncio.sleep(SWEEP_INTERVAL_S)


async def _keep_erasing(jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    while True:
        try:
            # Sweeps once more, which changes nothing, for what is due to be erased.
            for erasure in await jobs.sweep(DEFAULT_TENANT):
                await _erase(erasure, jobs, artifacts)
        except BrainmetsError as error:
            _log.warning("sweep_failed", reason=error.reason, got=error.got)
        await asyncio.sleep(SWEEP_INTERVAL_S)


async def _erase(erasure: Erasure, jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    try:
        await artifacts.delete_prefix(erasure.prefix)
        await jobs.confirm_erased(DEFAULT_TENANT, erasure)
    except BrainmetsError as error:
        # It stays due, and must not keep those after it.
        _log.warning("erasure_failed", prefix=erasure.prefix, reason=error.reason, got=error.got)
