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
from brainmets.client.printable import printable
from brainmets.client.zip_stream import stream_zip, zip_size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# The service takes up to 1 MiB. Smaller messages cost both ends more time, and larger ones the API more memory where
# many uploads wait (docs/performance.md).
CHUNK_BYTES = 512 << 10
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
# Of formats that are not sent: NRRD, MetaImage, FreeSurfer, MINC, and pairs of NIfTI or Analyze.
_OTHER_IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc", ".hdr", ".img", ".img.gz")
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
_MOST_NAMES_LISTED = 5


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
    In a folder, what stands before the sequence must be the same in all names. Other files are left alone, and so is a
    DICOMDIR, which names patients.

    Raises:
        StudyPathError: Nothing is there, it is none of these or several, or it cannot be read.
    """
    try:
        if path.is_dir():
            return _files_of_folder(path)
        if path.is_file():
            return (_single_file(path, path.name),)
    except OSError as error:
        raise StudyPathError(f"expected files that can be read in {path}, got {error.strerror}") from error
    raise StudyPathError(f"expected a file or a folder, got nothing at {path}")


def join_study_files(names: Mapping[Path, str]) -> tuple[StudyFile, ...]:
    """Return the study of files that were each given by hand; none is left alone, but a DICOMDIR beside DICOM files.

    NIfTI files come back in the order in which they were given, so that their numbers are those of whoever gave them.

    Args:
        names: What each file is called by whoever gave it, in the order given; at least one.

    Raises:
        StudyPathError: They make no study, or one of them would not be used.
    """
    if len(names) == 1:
        ((path, name),) = names.items()
        return (_single_file(path, name),)
    # In an order that does not change, as of a folder, for they are sent as one.
    dicom = tuple(sorted(path for path in names if _is_dicom(path)))
    nifti = {path: name for path, name in names.items() if _is_nifti(name)}
    unread = [name for path, name in names.items() if path not in dicom and path not in nifti]
    if dicom:
        # Whoever gives all of a CD means its images.
        directories = {name for path, name in names.items() if _is_directory(name, _read_start(path))}
        unread = [name for name in unread if name not in directories]
    if unread:
        raise StudyPathError(
            f"expected NIfTI or DICOM files, and a zip archive alone, got {list_names(unread)} among "
            f"{len(names)} files; leave out what is no image, or send the archive alone"
        )
    if dicom and nifti:
        raise _two_kinds("what was sent", nifti=len(nifti), dicom=len(dicom), remedy="send one kind")
    if dicom:
        return (StudyFile(dicom[0], None, FileFormat.DICOM_ZIP, dicom),)
    if unnamed := [name for name in nifti.values() if _sequence_in_name(name) is None]:
        raise StudyPathError(
            "expected NIfTI files whose names end with their sequence, as -t1c.nii.gz -t1n -t2w -t2f, "
            f"got {list_names(unnamed)}; rename or leave out what says none"
        )
    return _files_by_sequence("what was sent", nifti)


def names_left_alone(study: Path, files: Iterable[StudyFile]) -> tuple[str, ...]:
    """Return the images of a study's folder that are not sent: their names say no sequence, or they are no NIfTI."""
    if not study.is_dir():
        return ()
    sent = {path for file in files for path in (file.path, *file.members)}
    images = _files_named(study, (*_NIFTI_SUFFIXES, *_OTHER_IMAGE_SUFFIXES))
    return tuple(path.name for path in images if path not in sent)


def list_names(names: Iterable[str]) -> str:
    """Return names for a sentence, a handful at most, without what could command a terminal."""
    names = tuple(names)
    more = len(names) - _MOST_NAMES_LISTED
    return ", ".join(map(printable, names[:_MOST_NAMES_LISTED])) + (f" and {more} more" if more > 0 else "")


def _single_file(path: Path, name: str) -> StudyFile:
    if _is_nifti(name):
        return StudyFile(path, _sequence_in_name(name))
    start = _read_start(path)
    if start.startswith(_ZIP_MARK):
        return StudyFile(path, None, FileFormat.DICOM_ZIP)
    if _is_directory(name, start):
        raise StudyPathError(
            "expected images, got a DICOMDIR, which holds none and lists those of its folder; "
            "give the folder or the images instead"
        )
    if _is_marked(start):
        return StudyFile(path, None, FileFormat.DICOM)
    raise StudyPathError(
        f"expected a NIfTI file, a DICOM file or a zip archive of DICOM files, got {list_names([name])}; "
        "convert an image of another format to .nii.gz, as nibabel and SimpleITK can"
    )


def _files_of_folder(folder: Path) -> tuple[StudyFile, ...]:
    dicom = tuple(path for path in _walk(folder) if _is_dicom(path))
    nifti = _files_named(folder, _NIFTI_SUFFIXES)
    if dicom and nifti:
        raise _two_kinds(str(folder), nifti=len(nifti), dicom=len(dicom), remedy="move one kind away")
    if dicom:
        return (StudyFile(folder, None, FileFormat.DICOM_ZIP, dicom),)
    if not nifti:
        raise StudyPathError(f"expected NIfTI or DICOM files in {folder}, got none")
    by_sequence = {file.sequence: file for file in _files_by_sequence(str(folder), {path: path.name for path in nifti})}
    return tuple(by_sequence[sequence] for sequence in SEQUENCES if sequence in by_sequence)


def _files_named(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(suffixes))


def _two_kinds(place: str, *, nifti: int, dicom: int, remedy: str) -> StudyPathError:
    return StudyPathError(
        f"expected NIfTI or DICOM files in {place}, got {nifti} NIfTI and {dicom} DICOM files; {remedy}"
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield a folder's files in an order that does not change, so that the same study is the same bytes."""
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def _is_nifti(name: str) -> bool:
    return name.lower().endswith(_NIFTI_SUFFIXES)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    start = _read_start(path)
    return _is_marked(start) and not _is_directory(path.name, start)


def _read_start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_START_BYTES)


def _is_marked(start: bytes) -> bool:
    return start[_DICOM_MARK_AT:].startswith(_DICOM_MARK)


def _is_directory(name: str, start: bytes) -> bool:
    # In lower case on a CD that Linux mounts; a `ReceivedStudy` puts a number before the name of a second one.
    return name.upper().endswith(_DICOM_DIRECTORY) or _DICOM_DIRECTORY_CLASS in start


def _sequence_in_name(name: str) -> str | None:
    match = _SEQUENCE_IN_NAME.search(name)
    return match.group(1).lower() if match else None


def _files_by_sequence(place: str, names: Mapping[Path, str]) -> tuple[StudyFile, ...]:
    """Return the files whose names say their sequence, in the order given."""
    named = [(sequence, path) for path, name in names.items() if (sequence := _sequence_in_name(name))]
    _check_beginnings(names[path] for _, path in named)
    for sequence, count in Counter(sequence for sequence, _ in named).items():
        if count > 1:
            got = " and ".join(list_names([names[path]]) for other, path in named if other == sequence)
            raise StudyPathError(f"expected one {sequence} file in {place}, got {got}; move one away")
    found = dict(named)
    if "t1c" not in found:
        got = f"only {', '.join(sorted(found))}" if found else "no name that ends so"
        raise StudyPathError(
            f"expected a file named *-t1c.nii.gz in {place}, got {got}; name the T1 after contrast medium so, and the "
            "others *-t1n *-t2w *-t2f, or give that one file alone"
        )
    return tuple(StudyFile(path, sequence) for sequence, path in named)


def _check_beginnings(names: Iterable[str]) -> None:
    """Refuse files of two examinations: segmented as one, they would be a result of nobody."""
    by_beginning = {_SEQUENCE_IN_NAME.split(name)[0].casefold(): name for name in names}
    if len(by_beginning) > 1:
        raise StudyPathError(
            "expected files of one examination, their names alike before the sequence, "
            f"got {list_names(by_beginning.values())}; name them alike if they belong together, or move the others away"
        )
