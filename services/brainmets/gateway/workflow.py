"""Segments one study, from its stored files to its result files. Read this first; each step is one call.

stored files ─▶ prepare ─▶ infer and blend ─▶ back to the acquired grid ─▶ decide ─▶ write ─▶ SegmentedStudy
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.decision import decide
from brainmets.gateway.inference import TileInferencer
from brainmets.gateway.jobs import Progress, Stage, StoredArtifact
from brainmets.gateway.model_contract import SegmentationPlan
from brainmets.gateway.outputs import OutputFolder
from brainmets.gateway.preparation import StudyPreparer
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.gateway.result_files import result_writers
from brainmets.gateway.tile_flow import TileFlow, infer_tiles
from brainmets.imaging.resampling import resample_like
from brainmets.imaging.result import SegmentationResult
from brainmets.wire.stored_file import StoredFile

ProgressReporter = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """One study to segment: its files, how they are prepared, what decides, and until when."""

    job_id: str
    files: tuple[StoredFile, ...]
    input_sha256: str
    choices: PreparationChoices
    plan: SegmentationPlan
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Workbench:
    """What studies are segmented with; those that share it are inferred in turn."""

    preparer: StudyPreparer
    inferencer: TileInferencer
    tiles_in_flight: int
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


@dataclass(frozen=True, slots=True)
class SegmentedStudy:
    """A study's result, its stored artefacts, and of `BlendedStudy` what is told of it in metrics."""

    result: SegmentationResult
    artifacts: tuple[StoredArtifact, ...]
    t1c_ceiling: float
    agreement: float | None = None


async def segment_study(
    order: StudyOrder, bench: Workbench, *, output: OutputFolder, report: ProgressReporter
) -> SegmentedStudy:
    """Segment one study and store its artefacts; cancelling it stops preparation and inference.

    Raises:
        StudyError: The study cannot be read or used.
        DataLossError: Stored bytes are missing or changed.
        InferenceFailedError: A network stayed unavailable until the deadline, or answers no probability.
        UnknownModelError: Another version has taken a network's place.
        DependencyUnavailableError: Preprocessing or the artefact store stayed unavailable until the deadline.
        DeadlineExceededError: The deadline passed.
    """
    await report(Progress(Stage.PREPARING))
    preparation = bench.preparer.prepare(
        order.job_id, order.files, choices=order.choices, contract=order.plan.tiles, deadline=order.deadline
    )
    async with preparation as prepared:
        flow = TileFlow(
            inferencer=bench.inferencer,
            turn=bench.turn,
            tiles_in_flight=bench.tiles_in_flight,
            on_inferred=lambda done, total: report(Progress(Stage.INFERRING, done, total)),
            deadline=order.deadline,
        )
        blended = await infer_tiles(prepared, order.plan, flow)

    tiles = len(order.plan.models) * len(prepared.header.grid.boxes)
    await report(Progress(Stage.MEASURING, tiles, tiles))
    acquired = await asyncio.to_thread(resample_like, blended.probability, prepared.header.acquired)
    decided = await asyncio.to_thread(
        decide, acquired, prepared.header, plan=order.plan, input_sha256=order.input_sha256
    )
    order.deadline.check()

    await report(Progress(Stage.WRITING, tiles, tiles))
    artifacts = await output.write(result_writers(decided, blended.t1c, forms=prepared.header.t1c_forms))
    return SegmentedStudy(decided.result, artifacts, blended.t1c_ceiling, blended.agreement)
