"""A study that somebody else sent here, on its way to the service."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from brainmets.client.study_files import join_study_files

if TYPE_CHECKING:
    from brainmets.client.study_files import StudyFile

# File systems take names of 255 bytes; what a name says of its sequence stands at its end.
_LONGEST_NAME = 100


class ReceivedStudy:
    """Keeps files in a temporary folder, which is removed when the block ends, however it ends.

    A name is a stranger's: on the disk nothing is kept of it that could lead elsewhere; it stays known for sentences.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="brainmets-")
        self._names: dict[Path, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def path_for(self, file_name: str) -> Path:
        """Return where the next file is to be written; two of one name stay two files."""
        last = re.split(r"[/\\]", file_name)[-1]
        name = re.sub(r"[^A-Za-z0-9._-]", "_", last)[-_LONGEST_NAME:].lstrip(".")
        folder = Path(self._folder.name)
        while not name or folder / name in self._names:
            name = f"{len(self._names)}-{name}"
        self._names[folder / name] = last
        return folder / name

    def files(self) -> tuple[StudyFile, ...]:
        """Return the study that the files make; see `join_study_files`.

        Raises:
            StudyPathError: They make none, or one of them would not be used.
        """
        return join_study_files(self._names)
