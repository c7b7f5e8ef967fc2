"""Owns what must happen although nobody asks: overdue jobs end, and what has outlived its lifetime is erased."""

import asyncio
from collections.abc import Callable

import structlog

from brainmets.gateway.job_ledger import JobLedger
from brainmets.gateway.jobs import DEFAULT_TENANT, QueueDepth
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.artifact_store import ArtifactStore

# A job nobody works on ends at most this long after its deadline.
SWEEP_INTERVAL_S = 2.0

_log = structlog.get_logger(__name__)


async def keep_house(
    jobs: RedisJobStore, artifacts: ArtifactStore, *, on_measured: Callable[[QueueDepth, JobLedger], None]
) -> None:
    """Sweep for ever, and tell how much work there is and was. Any number of processes may do so at a time."""
    while True:
        try:
            # First, because a sweep fails as well when only the artefact store is away.
            on_measured(await jobs.queue_depth(DEFAULT_TENANT), await jobs.ledger(DEFAULT_TENANT))
            await _sweep(jobs, artifacts)
        except BrainmetsError as error:
            # Everything that was due stays due.
            _log.warning("sweep_failed", reason=error.reason, got=error.got)
        await asyncio.sleep(SWEEP_INTERVAL_S)


async def _sweep(jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    erasures = await jobs.sweep(DEFAULT_TENANT)
    for erasure in erasures:
        await artifacts.delete_prefix(erasure.prefix)
    await jobs.confirm_erased(DEFAULT_TENANT, erasures)
