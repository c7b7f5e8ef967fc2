"""Which files of a path make a study."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmets.client.errors import StudyPathError

if TYPE_CHECKING:
    from pathlib import Path

SEQUENCES = ("t1c", "t1n", "t2w", "t2f")
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_SEQUENCE_IN_NAME = re.compile(r"[-_.](t1c|t1n|t2w|t2f)\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One file to send.

    Attributes:
        path: Local path; never sent.
        sequence: One of `SEQUENCES`, or None to let the service decide.
    """

    path: Path
    sequence: str | None


def find_study_files(path: Path) -> tuple[StudyFile, ...]:
    """Find the study in a path: a NIfTI file, or a folder of files named `*-t1c.nii.gz *-t1n *-t2w *-t2f`.

    A single file is taken as the T1C whatever its name says, so that it can be tried. In a folder each file's name
    must end in its sequence; other files are left alone.

    Raises:
        StudyPathError: Nothing is there, no file is a T1C, or two files claim one sequence.
    """
    if path.is_file():
        if not path.name.lower().endswith(_NIFTI_SUFFIXES):
            raise StudyPathError(f"expected a .nii or .nii.gz file or a folder of them, got {path.name}")
        return (StudyFile(path, "t1c"),)
    if not path.is_dir():
        raise StudyPathError(f"expected a file or a folder, got nothing at {path}")
    return _files_by_sequence(path)


def _files_by_sequence(folder: Path) -> tuple[StudyFile, ...]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _SEQUENCE_IN_NAME.search(path.name)
        if match is None or not path.is_file():
            continue
        sequence = match.group(1).lower()
        if sequence in found:
            raise StudyPathError(
                f"expected one {sequence} file in the folder, got {found[sequence].name} and {path.name}; move one away"
            )
        found[sequence] = path
    if "t1c" not in found:
        raise StudyPathError(
            f"expected a file named *-t1c.nii.gz in {folder}, got {', '.join(sorted(found)) or 'none of the sequences'}"
        )
    return tuple(StudyFile(found[sequence], sequence) for sequence in SEQUENCES if sequence in found)
