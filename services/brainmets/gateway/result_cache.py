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


def cache_key(job: Job, plan: SegmentationPlan, *, choices: PreparationChoices, software_version: str) -> str:
    """Return the SHA-256 (lower-case hexadecimal) of everything that decides a result."""
    decisive = {
        "tenant": job.tenant,
        "input": job.input_sha256,
        # A result names the client's own numbers of its files, which the digest leaves out.
        "file_indices": sorted(file.file_index for file in job.files),
        "models": [[model.model_name, model.model_version, model.onnx_sha256] for model in plan.models],
        "point": asdict(plan.point),
        "operating_point": plan.operating_point,
        # A study that was forced through must not be the answer to one that was not.
        "force": choices.force,
        "series": [[selection.sequence, selection.series_number] for selection in choices.selections],
        # The way from probabilities to lesions is code, and may be mended.
        "software_version": software_version,
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
