"""Prepares one study, up to the grid that its tiles are cut from. Read this first; each step is one call.

stored files ─▶ decode (choose series, read them) ─▶ align ─▶ normalise ─▶ assess ─▶ plan ─▶ PreparedStudy
                          T1c, once read ─▶ outline ─────┘
"""

import asyncio
from dataclasses import dataclass

from brainmets.formats.study_reader import ReadStudy
from brainmets.imaging.brain import find_midline
from brainmets.imaging.brain_mask import pack_brain
from brainmets.imaging.coverage import drop_without_brain
from brainmets.imaging.errors import BrainmetsError, SequencesDoNotOverlapError
from brainmets.imaging.findings import Finding
from brainmets.imaging.head_outline import HeadOutline, outline_head
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.quality import assess_quality, refuse_severe
from brainmets.imaging.resampling import grids_overlap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import leave_out
from brainmets.imaging.study import AlignedStudy, Study, align_onto, align_t1c
from brainmets.imaging.tiling import plan_tiles
from brainmets.imaging.volume import Volume
from brainmets.preprocessing.study_files import StudyOrder, check_files
from brainmets.preprocessing.workshop import Workshop
from brainmets.runtime.tasks import task_group
from brainmets.wire.tiles import StudyHeader


@dataclass(frozen=True, slots=True, eq=False)
class PreparedStudy:
    """A study on the network's grid, and where its tiles lie."""

    header: StudyHeader
    normalized: NormalizedVolume


async def prepare_study(order: StudyOrder, workshop: Workshop, *, max_study_bytes: int) -> PreparedStudy:
    """Prepare one study; cancelling it leaves at most the step under way unfinished.

    Raises:
        StudyError: The study cannot be read or used.
        InvalidArgumentError: It is not clear what its files hold.
        DataLossError: Stored bytes are missing or changed.
        DependencyUnavailableError: The artefact store cannot be reached now.
    """
    check_files(order.files, max_study_bytes=max_study_bytes)
    arriving: asyncio.Future[Volume] = asyncio.get_running_loop().create_future()
    async with task_group() as group:
        reading = group.create_task(_read(order, arriving, workshop))
        # The head is known by its T1c alone, while the other sequences are still being read.
        placing = group.create_task(_place(arriving, order, workshop))
        outlining = group.create_task(_outline(placing, workshop))
        aligning = group.create_task(_align(reading, placing, workshop))
    read, aligned, outline = reading.result(), aligning.result(), outlining.result()
    async with task_group() as group:
        normalizing = group.create_task(_normalize(read, aligned, outline, workshop, force=order.force))
        halving = group.create_task(workshop.run("midline", find_midline, outline.brain, aligned.geometry))
    (normalized, findings), midline = normalizing.result(), halving.result()
    grid = await workshop.run("plan", plan_tiles, normalized.geometry.shape, order.contract, occupied=normalized.brain)
    header = StudyHeader(
        acquired=normalized.acquired,
        normalized=normalized.geometry,
        sequences=normalized.sequences,
        findings=findings,
        grid=grid,
        midline=midline,
        t1c_file_index=read.file_indices[Sequence.T1C],
        series=leave_out(read.series, seen=normalized.sequences),
        brain=pack_brain(normalized.brain),
        t1c_forms=read.t1c_forms,
    )
    return PreparedStudy(header, normalized)


async def _read(order: StudyOrder, arriving: asyncio.Future[Volume], workshop: Workshop) -> ReadStudy:
    def take(sequence: Sequence, volume: Volume) -> None:
        if sequence is Sequence.T1C:
            arriving.set_result(volume)

    return await workshop.read_study(order, on_volume=take)


async def _place(arriving: asyncio.Future[Volume], order: StudyOrder, workshop: Workshop) -> Volume:
    return await workshop.run("place", align_t1c, await arriving, spacing_mm=order.contract.spacing_mm)


async def _outline(placing: asyncio.Task[Volume], workshop: Workshop) -> HeadOutline:
    return await workshop.run("outline", outline_head, await placing, workshop.brain_network)


async def _align(reading: asyncio.Task[ReadStudy], placing: asyncio.Task[Volume], workshop: Workshop) -> AlignedStudy:
    read = await reading
    study = Study(read.volumes)
    try:
        return await workshop.run("align", align_onto, await placing, study)
    except SequencesDoNotOverlapError as error:
        raise _name_file(error, study, read) from error


async def _normalize(
    read: ReadStudy, aligned: AlignedStudy, outline: HeadOutline, workshop: Workshop, *, force: bool
) -> tuple[NormalizedVolume, tuple[Finding, ...]]:
    normalized = await workshop.run("normalize", _normalize_shown, aligned, outline)
    return normalized, await workshop.run("assess", _assess, read, aligned, normalized, force=force)


def _normalize_shown(aligned: AlignedStudy, outline: HeadOutline) -> NormalizedVolume:
    return normalize_study(drop_without_brain(aligned, outline.brain), outline)


def _name_file(error: BrainmetsError, study: Study, read: ReadStudy) -> BrainmetsError:
    """Return the error with the client's number of the first file that lies elsewhere; imaging knows no files."""
    elsewhere = next(
        read.file_indices[sequence]
        for sequence, volume in study.volumes.items()
        if not grids_overlap(volume.geometry, study.t1c.geometry)
    )
    return SequencesDoNotOverlapError(
        error.message, expected=error.expected, got=error.got, remedy=error.remedy, file_index=elsewhere
    )


def _assess(
    read: ReadStudy, aligned: AlignedStudy, normalized: NormalizedVolume, *, force: bool
) -> tuple[Finding, ...]:
    """Return all that is to be told about the study, unless it speaks against it."""
    findings = (*read.findings, *normalized.findings, *assess_quality(aligned, normalized))
    refuse_severe(findings, force=force)
    return findings
