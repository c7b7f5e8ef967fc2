"""Owns claims and completions of jobs, for the tests of the job store."""

import redis.asyncio

from brainmets.gateway.jobs import DEFAULT_TENANT, ArtifactKind, Claim, Completion, StoredArtifact
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.redis_job_store import RedisJobStore

CACHE_KEY = "c0" * 32
# As `lua/shared.lua` has them.
QUEUE, GROUP, CONSUMER = tenant_key(DEFAULT_TENANT, "queue"), "workers", "worker"
# Longer than any lease.
EXPIRED_MS = 3_600_000


async def claim_now(jobs: RedisJobStore, *, worker: str = "worker", block_s: float = 0) -> Claim:
    """Return the next claim, which must be there."""
    claim = await jobs.claim(DEFAULT_TENANT, worker, block_s=block_s)
    assert claim is not None
    return claim


async def expire_lease(client: redis.asyncio.Redis, claim: Claim) -> None:
    """Let a claim's lease run out now."""
    await client.xclaim(QUEUE, GROUP, CONSUMER, 0, [claim.entry_id], idle=EXPIRED_MS, justid=True)


async def claim_expired(jobs: RedisJobStore, client: redis.asyncio.Redis, claim: Claim) -> Claim:
    """Return a second worker's claim on what the first has let expire."""
    await expire_lease(client, claim)
    return await claim_now(jobs, worker="second")


def completion_of(claim: Claim, *, cache_key: str = CACHE_KEY) -> Completion:
    """Return what a successful attempt leaves."""
    path = f"{claim.prefix}mask.nii.gz"
    artifact = StoredArtifact(ArtifactKind.MASK_NIFTI, "mask.nii.gz", path, 7, b"\x00\xff" * 16)
    return Completion(b"\x00result\n", (artifact,), cache_key)
