"""Which files of a path make a study, and the bytes in which they go out."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from brainmets.client.errors import StudyPathError
from brainmets.client.names import SEQUENCES
from brainmets.client.zip_stream import stream_zip, zip_size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

# The service takes up to 1 MiB. Smaller messages cost both ends more time, and larger ones the API more memory where
# many uploads wait (docs/performance.md).
CHUNK_BYTES = 512 << 10
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_SEQUENCE_IN_NAME = re.compile(r"(?:^|[-_.])(t1c|t1n|t2w|t2f)\.nii(\.gz)?$", re.IGNORECASE)
# PS3.10 section 7.1: a preamble of 128 bytes, then four letters.
_DICOM_MARK, _DICOM_MARK_AT = b"DICM", 128
# PS3.10 section 8.6: lists the files of a folder, with names and numbers of its patients; it holds no image. Under
# another name it is known by its class (0002,0002), Media Storage Directory, which stands at its beginning.
_DICOM_DIRECTORY = "DICOMDIR"
_DICOM_DIRECTORY_CLASS = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
# Enough for the mark, and the class behind it.
_START_BYTES = 512
_ZIP_MARK = b"PK\x03\x04"


class FileFormat(StrEnum):
    """How a file is encoded, by the published contract's MediaType."""

    NIFTI = "nifti"
    DICOM = "dicom"
    DICOM_ZIP = "dicom_zip"


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One file to send.

    Attributes:
        path: Local path; never sent.
        sequence: One of `SEQUENCES`, or None to let the service decide.
        file_format: How its bytes are encoded.
        members: DICOM files to be sent as one zip archive, made on the way; empty: `path` is sent as it is.
        content: What is sent in place of the path's bytes, where an image lies in memory.
    """

    path: Path
    sequence: str | None = None
    file_format: FileFormat = FileFormat.NIFTI
    members: tuple[Path, ...] = ()
    content: bytes = field(default=b"", repr=False)

    @property
    def size_bytes(self) -> int:
        """How many bytes are sent."""
        if self.content:
            return len(self.content)
        return zip_size_bytes(self.members) if self.members else self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes to send, at most `CHUNK_BYTES` at a time."""
        if self.members:
            yield from stream_zip(self.members, chunk_bytes=CHUNK_BYTES)
            return
        with io.BytesIO(self.content) if self.content else self.path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk


def find_study_files(path: Path) -> tuple[StudyFile, ...]:
    """Find the study in a path.

    It is one of: a NIfTI file; a folder of NIfTI files named `*-t1c.nii.gz *-t1n *-t2w *-t2f`, or `t1c.nii.gz` and so
    on; a zip archive of DICOM files; a DICOM file; a folder with DICOM files, however deep, which are sent as one
    archive without their names. A single NIfTI file is stated to be what its name says, and else left to the service.
    Other files are left alone, and so is a DICOMDIR, which names patients.

    Raises:
        StudyPathError: Nothing is there, it is none of these or several, or it cannot be read.
    """
    try:
        if path.is_dir():
            return _files_of_folder(path)
        if path.is_file():
            return (_single_file(path),)
    except OSError as error:
        raise StudyPathError(f"expected files that can be read in {path}, got {error.strerror}") from error
    raise StudyPathError(f"expected a file or a folder, got nothing at {path}")


def _single_file(path: Path) -> StudyFile:
    if _is_nifti(path):
        return StudyFile(path, _sequence_in_name(path))
    start = _read_start(path)
    if start.startswith(_ZIP_MARK):
        return StudyFile(path, None, FileFormat.DICOM_ZIP)
    if _is_directory(path, start):
        raise StudyPathError(
            "expected images, got a DICOMDIR, which holds none and lists those of its folder; "
            "give the folder or the images instead"
        )
    if _is_marked(start):
        return StudyFile(path, None, FileFormat.DICOM)
    raise StudyPathError(
        f"expected a NIfTI file, a DICOM file or a zip archive of DICOM files, got {path.name}; "
        "convert an image of another format to .nii.gz, as nibabel and SimpleITK can"
    )


def _files_of_folder(folder: Path) -> tuple[StudyFile, ...]:
    dicom = tuple(path for path in _walk(folder) if _is_dicom(path))
    nifti = sorted(path for path in folder.iterdir() if path.is_file() and _is_nifti(path))
    if dicom and nifti:
        raise StudyPathError(
            f"expected NIfTI or DICOM files in {folder}, got {len(nifti)} NIfTI and {len(dicom)} DICOM files; "
            "move one kind away"
        )
    if dicom:
        return (StudyFile(folder, None, FileFormat.DICOM_ZIP, dicom),)
    if not nifti:
        raise StudyPathError(f"expected NIfTI or DICOM files in {folder}, got none")
    return _files_by_sequence(folder, nifti)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield a folder's files in an order that does not change, so that the same study is the same bytes."""
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(_NIFTI_SUFFIXES)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    start = _read_start(path)
    return _is_marked(start) and not _is_directory(path, start)


def _read_start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_START_BYTES)


def _is_marked(start: bytes) -> bool:
    return start[_DICOM_MARK_AT:].startswith(_DICOM_MARK)


def _is_directory(path: Path, start: bytes) -> bool:
    # In lower case on a CD that Linux mounts; a `ReceivedStudy` puts a number before the name of a second one.
    return path.name.upper().endswith(_DICOM_DIRECTORY) or _DICOM_DIRECTORY_CLASS in start


def _sequence_in_name(path: Path) -> str | None:
    match = _SEQUENCE_IN_NAME.search(path.name)
    return match.group(1).lower() if match else None


def _files_by_sequence(folder: Path, paths: list[Path]) -> tuple[StudyFile, ...]:
    named = [(sequence, path) for path in paths if (sequence := _sequence_in_name(path))]
    for sequence, count in Counter(sequence for sequence, _ in named).items():
        if count > 1:
            names = " and ".join(path.name for other, path in named if other == sequence)
            raise StudyPathError(f"expected one {sequence} file in the folder, got {names}; move one away")
    found = dict(named)
    if "t1c" not in found:
        got = f"only {', '.join(sorted(found))}" if found else "no name that ends so"
        raise StudyPathError(
            f"expected a file named *-t1c.nii.gz in {folder}, got {got}; name the T1 after contrast medium so, and the "
            "others *-t1n *-t2w *-t2f, or give that one file instead of the folder"
        )
    return tuple(StudyFile(found[sequence], sequence) for sequence in SEQUENCES if sequence in found)
