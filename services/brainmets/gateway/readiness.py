"""Owns whether a gateway process can take work: Redis and the artefact store answer. Triton is not asked.

A study is accepted although no network runs: it is stored, and waits.
"""

import asyncio
from collections.abc import Awaitable, Callable

import redis.asyncio
import structlog

from brainmets.gateway.redis_connection import redis_errors
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.artifact_store import ArtifactStore

# Pause between looks: orchestrators ask about as often.
INTERVAL_S = 2.0
# A store or Redis that takes longer is not one to take studies with.
TIMEOUT_S = 3.0
# A prefix that nobody writes to: what is asked is whether the store answers.
PROBED_PREFIX = "readiness/"

_log = structlog.get_logger(__name__)


async def watch_readiness(
    client: redis.asyncio.Redis, artifacts: ArtifactStore, *, note: Callable[[bool], Awaitable[None]]
) -> None:
    """Look for ever, and await `note` with what was found, each time it changes; first with what is so at the start."""
    known: bool | None = None
    while True:
        ready = await _is_ready(client, artifacts)
        if ready != known:
            _log.info("readiness_changed", ready=ready)
            await note(ready)
        known = ready
        await asyncio.sleep(INTERVAL_S)


async def _is_ready(client: redis.asyncio.Redis, artifacts: ArtifactStore) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            with redis_errors():
                await client.ping()
            await artifacts.list_paths(PROBED_PREFIX)
    except (BrainmetsError, TimeoutError) as error:
        _log.warning("not_ready", kind=type(error).__name__, got=getattr(error, "message", "no answer in time"))
        return False
    return True
