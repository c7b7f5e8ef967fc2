"""Owns the choice of a study's files: which are read, and as which sequence; nothing is read yet."""

from dataclasses import dataclass

from brainmets.imaging.errors import (
    BrainmetsError,
    InvalidArgumentError,
    MissingT1cError,
    StudyTooLargeError,
    UnsupportedFormatError,
)
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tiling import TileContract

# The published contract's bound on FileHeader.file_index.
MAX_FILES = 64


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a study in the artefact store.

    Attributes:
        file_index: The client's number of it, named in errors.
        is_nifti: Whether it was announced as NIfTI, the one media type that is read.
        sequence: What it holds, when that was stated.
        parts: Paths in the artefact store; joined in this order they are the file.
        sha256: Of the joined parts, 32 bytes.
        size_bytes: Of the joined parts.
    """

    file_index: int
    is_nifti: bool
    sequence: Sequence | None
    parts: tuple[str, ...]
    sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """A study to prepare: its files, and how the network wants its tiles."""

    job_id: str
    files: tuple[StoredFile, ...]
    contract: TileContract


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """What is read of a study, in the order of the network's channels, and what is left out and why."""

    by_sequence: dict[Sequence, StoredFile]
    findings: tuple[Finding, ...]


def choose_files(order: StudyOrder, *, max_study_bytes: int) -> ChosenFiles:
    """Decide which sequence each file holds, and leave out those the network does not know.

    Raises:
        InvalidArgumentError: Two files share a number or a sequence, or one among several states none.
        UnsupportedFormatError: A file is of a media type that is not read.
        StudyTooLargeError: The files together are larger than the service takes.
        MissingT1cError: No file holds the T1c.
    """
    _check_files(order.files, max_study_bytes=max_study_bytes)
    stated = _state_sequences(order.files)
    if Sequence.T1C not in stated:
        raise MissingT1cError(
            "No file holds the T1c",
            expected="a file of sequence T1C",
            got=", ".join(sorted(stated)) or "no file",
            remedy="add the T1-weighted series after contrast medium",
        )
    known = order.contract.sequences
    findings = tuple(_unknown_to_network(sequence) for sequence in stated if sequence not in known)
    return ChosenFiles({sequence: stated[sequence] for sequence in known if sequence in stated}, findings)


def _check_files(files: tuple[StoredFile, ...], *, max_study_bytes: int) -> None:
    if len(files) > MAX_FILES or len({file.file_index for file in files}) < len(files):
        raise InvalidArgumentError(
            "The study's files are not numbered",
            expected=f"at most {MAX_FILES} files, each with its own file_index",
            got=f"{len(files)} files",
            remedy="number the files of a study from 0",
        )
    size_bytes = 0
    for file in files:
        if not file.is_nifti:
            raise _unsupported(file.file_index)
        size_bytes += file.size_bytes
        if size_bytes > max_study_bytes:
            raise StudyTooLargeError(
                "The study is too large",
                expected=f"at most {max_study_bytes} bytes",
                got=f"{size_bytes} bytes with this file",
                remedy="send one series for each sequence, compressed",
                file_index=file.file_index,
            )


def _unsupported(file_index: int) -> BrainmetsError:
    return UnsupportedFormatError(
        "The file's media type is not read",
        expected="MEDIA_TYPE_NIFTI",
        got="another or none",
        remedy="send NIfTI-1 or NIfTI-2 and say so",
        file_index=file_index,
    )


def _state_sequences(files: tuple[StoredFile, ...]) -> dict[Sequence, StoredFile]:
    stated: dict[Sequence, StoredFile] = {}
    for file in files:
        # A lone file can only be the sequence that every study needs.
        sequence = file.sequence or (Sequence.T1C if len(files) == 1 else None)
        if sequence is None or sequence in stated:
            raise InvalidArgumentError(
                "It is not clear which sequence the file holds",
                expected="T1C, T1N, T2W or T2F for each of several files, and each at most once",
                got="a second one of the same" if sequence else "SEQUENCE_UNSPECIFIED",
                remedy="state the sequence of each file",
                file_index=file.file_index,
            )
        stated[sequence] = file
    return stated


def _unknown_to_network(sequence: Sequence) -> Finding:
    return Finding(FindingCode.SEQUENCE_DROPPED, "The networks do not use this sequence; it was left out.", sequence)
