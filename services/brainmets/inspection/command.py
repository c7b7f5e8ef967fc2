"""Owns `brainmets inspect`: a path in, a report out. The client finds it by its entry point."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from brainmets.client.arguments import read_study
from brainmets.client.errors import StudyPathError
from brainmets.client.study_files import FileFormat
from brainmets.client.study_files import StudyFile as LocalFile
from brainmets.formats.study_reader import StudyFile
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.inspection.report import inspection_json, inspection_report
from brainmets.inspection.slow_progress import SlowProgress
from brainmets.inspection.study_inspection import STEPS, inspect_study

# A service's own bound, unless it is set otherwise; a study is inspected in memory.
MAX_STUDY_BYTES = 1 << 30


def inspect(path: Path, selections: Mapping[str, int], *, as_json: bool) -> bool:
    """Print what the service would read of a path, and return whether it would segment it.

    Raises:
        StudyPathError: The path holds nothing that can be sent, or more than a service takes.
    """
    console = Console(stderr=True)
    local = read_study(path, console)
    _check_size(local)
    chosen = tuple(SeriesSelection(Sequence(sequence), number) for sequence, number in selections.items())
    with SlowProgress(console, steps=len(STEPS)) as progress:
        files = tuple(_as_sent(file_index, file) for file_index, file in enumerate(local))
        inspection = inspect_study(files, selections=chosen, on_step=progress.begin)
    labels = {index: file.path.name for index, file in enumerate(local) if file.file_format is FileFormat.NIFTI}
    if as_json:
        sys.stdout.write(json.dumps(inspection_json(inspection, labels), indent=1) + "\n")
    else:
        Console().print(inspection_report(inspection, labels))
    return inspection.readable


def _check_size(files: tuple[LocalFile, ...]) -> None:
    size_bytes = sum(file.size_bytes for file in files)
    if size_bytes > MAX_STUDY_BYTES:
        raise StudyPathError(
            f"expected a study of at most {MAX_STUDY_BYTES} bytes, which is what a service takes, got {size_bytes}; "
            "name the folder of one examination"
        )


def _as_sent(file_index: int, file: LocalFile) -> StudyFile:
    """Return a file as the service would get it, byte for byte."""
    return StudyFile(
        file_index=file_index,
        media_type=MediaType[file.file_format.name],
        sequence=Sequence(file.sequence) if file.sequence else None,
        content=b"".join(file.chunks()),
    )
