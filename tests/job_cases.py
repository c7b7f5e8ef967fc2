"""Owns claims and completions of jobs, for the tests of the job store."""

import asyncio

from brainmets.gateway.jobs import DEFAULT_TENANT, ArtifactKind, Claim, Completion, StoredArtifact
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore

CACHE_KEY = "c0" * 32


async def claim_now(jobs: RedisJobStore, *, worker: str = "worker", block_s: float = 0) -> Claim:
    """Return the next claim, which must be there."""
    claim = await jobs.claim(DEFAULT_TENANT, worker, block_s=block_s)
    assert claim is not None
    return claim


async def claim_expired(jobs: RedisJobStore, limits: JobStoreLimits) -> Claim:
    """Return a second worker's claim on what the first has let expire."""
    await asyncio.sleep(limits.lease_s + 0.02)
    return await claim_now(jobs, worker="second")


def completion_of(claim: Claim, *, cache_key: str = CACHE_KEY) -> Completion:
    """Return what a successful attempt leaves."""
    path = f"{claim.prefix}mask.nii.gz"
    artifact = StoredArtifact(ArtifactKind.MASK_NIFTI, "mask.nii.gz", path, 7, b"\x00\xff" * 16)
    return Completion(b"\x00result\n", (artifact,), cache_key)
