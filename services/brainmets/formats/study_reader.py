"""Reads a study's files. Read this first: files ─▶ series (headers only) ─▶ choice ─▶ volumes of the chosen ones."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from brainmets.formats.dicom_instance import Instance, is_dicom, read_instance
from brainmets.formats.dicom_series import find_series
from brainmets.formats.nifti import read_nifti, read_nifti_attributes
from brainmets.formats.zip_archive import list_entries
from brainmets.imaging.errors import BrainmetsError, UnsupportedFormatError
from brainmets.imaging.findings import Finding
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.sequence_choice import choose_sequences
from brainmets.imaging.series import SeriesAttributes, SeriesSelection, SeriesUse
from brainmets.imaging.volume import Volume, VoxelMemory, new_voxels

_MR = "MR"


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One file of a study, in memory.

    Attributes:
        file_index: The client's number of it, named in errors.
        media_type: What it was announced as.
        sequence: What it holds, when that was stated.
        content: All of its bytes.
    """

    file_index: int
    media_type: MediaType
    sequence: Sequence | None
    content: bytes | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class ReadStudy:
    """What a study's files hold, and what of it the networks see.

    Attributes:
        volumes: The chosen series, at least the T1c.
        file_indices: The client's number of the first file of each.
        series: What became of every series.
        findings: What a reader of the result should know of the choice.
        t1c_forms: How the T1c's file says where its voxels lie; None for DICOM.
    """

    volumes: Mapping[Sequence, Volume]
    file_indices: Mapping[Sequence, int]
    series: tuple[SeriesUse, ...]
    findings: tuple[Finding, ...]
    t1c_forms: NiftiForms | None = None


class VolumeReader(Protocol):
    """Decodes one series."""

    def __call__(self, *, memory: VoxelMemory) -> Volume:
        """Return the series' volume, its voxels in the given memory."""


VolumeListener = Callable[[Sequence, Volume], None]
"""Told of each volume that was read."""


def _ignore(_sequence: Sequence, _volume: Volume) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Surveyed:
    """A series whose header was read, and what decodes it."""

    attributes: SeriesAttributes
    read_volume: VolumeReader


def read_study(
    files: tuple[StudyFile, ...],
    *,
    selections: tuple[SeriesSelection, ...] = (),
    known: tuple[Sequence, ...] = tuple(Sequence),
    memory: VoxelMemory = new_voxels,
    on_volume: VolumeListener = _ignore,
) -> ReadStudy:
    """Read a study: all headers, and the pixels of the series that the networks see.

    Args:
        files: In any order; NIfTI files are a series each, DICOM files fall into series by their headers.
        selections: Series that the request chooses by their number.
        known: Sequences that the networks use, in the order of their channels.
        memory: Where the volumes' voxels are put; asked from several threads at a time.
        on_volume: Told of each volume, the T1c first, while the others are still being read.

    Raises:
        StudyError: A file cannot be read, or the study cannot be used; the kind says why.
        InvalidArgumentError: It is not clear, or contradictory, what the files hold.
    """
    surveyed = _survey(files)
    _check_modality(surveyed)
    choice = choose_sequences(tuple(series.attributes for series in surveyed), selections=selections, known=known)
    chosen = {sequence: surveyed[index] for sequence, index in choice.by_sequence.items()}
    volumes: dict[Sequence, Volume] = {}
    # Inflating, decompressing and converting leave the interpreter to each other; in more threads than there are cores
    # the T1c, which much waits for, would come later.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        readings = {
            sequence: threads.submit(chosen[sequence].read_volume, memory=memory)
            for sequence in Sequence
            if sequence in chosen
        }
        for sequence, reading in readings.items():
            volumes[sequence] = reading.result()
            on_volume(sequence, volumes[sequence])
    indices = {sequence: series.attributes.file_index for sequence, series in chosen.items()}
    t1c_forms = chosen[Sequence.T1C].attributes.nifti_forms
    return ReadStudy(volumes, indices, choice.uses, choice.findings, t1c_forms)


def survey_study(files: tuple[StudyFile, ...]) -> tuple[SeriesAttributes, ...]:
    """Return what a study's headers say of its series, by SeriesNumber and then as sent; no pixels are decoded.

    Raises:
        StudyError: A file cannot be read; the kind says why.
    """
    return tuple(series.attributes for series in _survey(files))


def _survey(files: tuple[StudyFile, ...]) -> tuple[_Surveyed, ...]:
    stated = {file.file_index: file.sequence for file in files}
    instances = [instance for file in files for instance in _read_instances(file)]
    dicom = tuple(_Surveyed(series.attributes, series.read_volume) for series in find_series(instances, stated=stated))
    return dicom + tuple(_survey_nifti(file) for file in files if file.media_type is MediaType.NIFTI)


def _survey_nifti(file: StudyFile) -> _Surveyed:
    attributes = read_nifti_attributes(file.content, file_index=file.file_index, stated=file.sequence)
    return _Surveyed(attributes, partial(read_nifti, file.content, file_index=file.file_index))


def _read_instances(file: StudyFile) -> Iterator[Instance]:
    if file.media_type is MediaType.DICOM:
        instance = read_instance(file.content, load=lambda: file.content, file_index=file.file_index)
        if instance:
            yield instance
    elif file.media_type is MediaType.DICOM_ZIP:
        yield from _read_archive(file)


def _read_archive(file: StudyFile) -> Iterator[Instance]:
    """Yield an archive's DICOM instances; whatever else it holds is left out, archives within it too."""
    found = False
    for entry in list_entries(file.content, file_index=file.file_index):
        content = entry.read()
        if is_dicom(content):
            instance = read_instance(content, load=entry.read, file_index=file.file_index)
            if instance:
                found = True
                yield instance
    if not found:
        raise _nothing_to_read("DICOM files in the archive", got="other files only", file_index=file.file_index)


def _check_modality(surveyed: tuple[_Surveyed, ...]) -> None:
    modalities = {series.attributes.modality for series in surveyed}
    if surveyed and not modalities & {"", _MR}:
        raise _nothing_to_read("MR images", got="images or documents of other modalities only")
    if not surveyed:
        raise _nothing_to_read("at least one series", got="none")


def _nothing_to_read(expected: str, *, got: str, file_index: int | None = None) -> BrainmetsError:
    return UnsupportedFormatError(
        "The study holds nothing that is read",
        expected=expected,
        got=got,
        remedy="send the MR series of a head",
        file_index=file_index,
    )
