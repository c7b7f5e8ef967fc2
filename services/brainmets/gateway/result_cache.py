"""Owns the result cache: the same bytes, decided by the same networks in the same way, are not computed twice."""

import hashlib
import json
from dataclasses import asdict

import structlog

from brainmets.gateway.jobs import Claim, Completion, Job
from brainmets.gateway.model_contract import SegmentationPlan
from brainmets.gateway.outputs import OutputFolder
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.imaging.errors import DataLossError

_log = structlog.get_logger(__name__)


def cache_key(job: Job, plan: SegmentationPlan, *, choices: PreparationChoices, build: str) -> str:
    """Return the SHA-256 (lower-case hexadecimal) of everything known here that decides a result.

    `build` is the build identity. Plan and choices count as a whole, so that no new field can be forgotten; what of
    them decides nothing, such as a model card's figures, costs a computation at most. Nobody tells a worker, and so the
    key leaves out, which engine Triton computes with (its precision and kernels), what the packages around brainmets
    are, and of which build preprocessing is: it is rolled out with the worker.
    """
    decisive = {
        "tenant": job.tenant,
        "input": job.input_sha256,
        # A result names the client's own numbers of its files, which the digest leaves out.
        "file_indices": sorted(file.file_index for file in job.files),
        "plan": asdict(plan),
        "choices": asdict(choices),
        # The way from bytes to lesions is code, and may be mended without another version.
        "build": build,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


async def complete_from_cache(
    claim: Claim, jobs: RedisJobStore, *, key: str, output: OutputFolder
) -> Completion | None:
    """Return an earlier job's result with copies of its artefacts, or None when there is none to be had.

    Raises:
        DependencyUnavailableError: Redis or the artefact store cannot be reached.
    """
    source = await jobs.cached_result(claim.job.tenant, key)
    if source is None:
        return None
    try:
        artifacts = await output.copy(source.artifacts)
    except DataLossError:
        # The files are gone or damaged although the record is there: compute again, and let the next result take its
        # place.
        _log.warning("cached_artifacts_lost", job_id=claim.job.job_id)
        await jobs.evict(claim.job.tenant, key)
        return None
    return Completion(source.result, artifacts, cache_key=key, from_cache=True)
