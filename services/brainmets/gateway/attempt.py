"""Owns one attempt at a claimed job: plan it, look into the cache, else segment it."""

import asyncio
from dataclasses import dataclass

import structlog

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.inference import ModelCatalogue
from brainmets.gateway.jobs import Claim, Completion, Progress
from brainmets.gateway.model_contract import (
    DecisionOptions,
    ModelContract,
    SegmentationPlan,
    plan_segmentation,
    read_contract,
)
from brainmets.gateway.option_messages import decision_options, preparation_choices
from brainmets.gateway.outputs import OutputFolder
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.result_cache import cache_key, complete_from_cache
from brainmets.gateway.stage_clock import StageClock
from brainmets.gateway.workflow import StudyOrder, Workbench, segment_study
from brainmets.imaging.errors import DependencyUnavailableError, InferenceFailedError, UnknownModelError
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.build_identity import identify_build
from brainmets.runtime.metrics import WorkerMetrics
from brainmets.v1 import job_pb2
from brainmets.wire.result import result_to_proto

# An attempt ends this much before the job's deadline, so that it says why, and not only that, the time was up.
DEADLINE_MARGIN_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What every attempt needs."""

    jobs: RedisJobStore
    artifacts: ArtifactStore
    catalogue: ModelCatalogue
    bench: Workbench
    metrics: WorkerMetrics

    async def segment(self, claim: Claim) -> Completion:
        """Return what a claimed job is completed with.

        Raises:
            BrainmetsError: Why the job fails; JobCancelledError and StaleLeaseError: that it is not this worker's
                any more.
        """
        deadline = Deadline.after(claim.remaining_s - min(DEADLINE_MARGIN_S, claim.remaining_s / 10))
        options = job_pb2.SegmentationOptions.FromString(claim.job.options)
        while True:
            plan = await self._plan(decision_options(options), deadline)
            try:
                return await self._follow(plan, claim, options, deadline)
            except UnknownModelError:
                # Others were rolled out meanwhile: none of their tiles may be blended with those of before.
                _log.warning("networks_replaced", job_id=claim.job.job_id)

    async def _follow(
        self, plan: SegmentationPlan, claim: Claim, options: job_pb2.SegmentationOptions, deadline: Deadline
    ) -> Completion:
        """Return what the job is completed with by a plan.

        Raises:
            UnknownModelError: Another version has taken a network's place.
            BrainmetsError: As `segment`.
        """
        job = claim.job
        output = OutputFolder(self.artifacts, claim.prefix, deadline=deadline)
        choices = preparation_choices(options)
        key = cache_key(job, plan, choices=choices, build=identify_build())
        cached = await retry_while_unavailable(
            lambda: complete_from_cache(claim, self.jobs, key=key, output=output), deadline
        )
        if cached is not None:
            self.metrics.cache_hits.inc()
            return cached
        clock = StageClock(self.metrics)
        segmented = await segment_study(
            StudyOrder(job.job_id, job.files, job.input_sha256, choices, plan, deadline),
            self.bench,
            output=output,
            report=lambda progress: self._report(claim, progress, clock),
        )
        clock.note(Progress())
        if options.test:
            self.metrics.study.note_test()
        else:
            self.metrics.study.note(segmented.result, agreement=segmented.agreement, t1c_ceiling=segmented.t1c_ceiling)
        self.metrics.written_bytes.inc(sum(artifact.size_bytes for artifact in segmented.artifacts))
        result = result_to_proto(segmented.result).SerializeToString(deterministic=True)
        return Completion(result, segmented.artifacts, cache_key=key)

    async def _plan(self, options: DecisionOptions, deadline: Deadline) -> SegmentationPlan:
        # Asked for each study: what is recorded must be the digest of what ran, also after a model was exchanged.
        contracts = await asyncio.gather(
            *(self._contract(model_name, deadline) for model_name in options.model.model_names)
        )
        return plan_segmentation(options, tuple(contracts))

    async def _contract(self, model_name: str, deadline: Deadline) -> ModelContract:
        try:
            description = await retry_while_unavailable(lambda: self.catalogue.describe(model_name), deadline)
        except (DependencyUnavailableError, UnknownModelError) as error:
            raise InferenceFailedError(
                f"Model {model_name} cannot be asked for its contract",
                expected="a loaded model",
                got=error.got,
                remedy="submit the study again later; if it lasts, look at Triton's log",
            ) from error
        return read_contract(description)

    async def _report(self, claim: Claim, progress: Progress, clock: StageClock) -> None:
        clock.note(progress)
        try:
            await self.jobs.report_progress(claim, progress)
        except DependencyUnavailableError as error:
            # Only the client's view of it is late; the heartbeat decides whether the lease still holds.
            _log.warning("progress_not_reported", job_id=claim.job.job_id, got=error.got)
