"""Prepares one study, up to the grid that its tiles are cut from. Read this first; each step is one call.

stored files ─▶ choose ─▶ decode ─▶ align ─▶ normalise ─▶ plan ─▶ PreparedStudy
"""

import asyncio
from dataclasses import dataclass

from brainmets.imaging.brain import find_midline
from brainmets.imaging.errors import BrainmetsError, SequencesDoNotOverlapError
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.resampling import grids_overlap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.tiling import TileContract, plan_tiles
from brainmets.imaging.volume import Volume
from brainmets.preprocessing.study_files import ChosenFiles, StudyOrder, choose_files
from brainmets.preprocessing.workshop import Workshop
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
    chosen = choose_files(order, max_study_bytes=max_study_bytes)
    study = Study(await _decode(chosen, workshop))
    try:
        aligned = await workshop.run("align", align_study, study, spacing_mm=order.contract.spacing_mm)
    except SequencesDoNotOverlapError as error:
        raise _name_file(error, study, chosen) from error
    normalized = await workshop.run("normalize", normalize_study, aligned)
    return await workshop.run("plan", _plan, normalized, order.contract, chosen=chosen)


async def _decode(chosen: ChosenFiles, workshop: Workshop) -> dict[Sequence, Volume]:
    """Decode all files at a time; of several faults the first file's is the one that is told."""
    readings = (workshop.read_volume(file) for file in chosen.by_sequence.values())
    volumes = []
    for outcome in await asyncio.gather(*readings, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        volumes.append(outcome)
    return dict(zip(chosen.by_sequence, volumes, strict=True))


def _name_file(error: BrainmetsError, study: Study, chosen: ChosenFiles) -> BrainmetsError:
    """Return the error with the client's number of the first file that lies elsewhere; imaging knows no files."""
    elsewhere = next(
        chosen.by_sequence[sequence].file_index
        for sequence, volume in study.volumes.items()
        if not grids_overlap(volume.geometry, study.t1c.geometry)
    )
    return SequencesDoNotOverlapError(
        error.message, expected=error.expected, got=error.got, remedy=error.remedy, file_index=elsewhere
    )


def _plan(normalized: NormalizedVolume, contract: TileContract, *, chosen: ChosenFiles) -> PreparedStudy:
    grid = plan_tiles(normalized.foreground.shape, contract, occupied=normalized.foreground)
    header = StudyHeader(
        acquired=normalized.acquired,
        normalized=normalized.geometry,
        sequences=normalized.sequences,
        findings=(*chosen.findings, *normalized.findings),
        grid=grid,
        midline=find_midline(normalized.foreground, normalized.geometry),
        t1c_file_index=chosen.by_sequence[Sequence.T1C].file_index,
    )
    return PreparedStudy(header, normalized)
