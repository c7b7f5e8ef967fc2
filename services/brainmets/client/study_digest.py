"""The SHA-256 that names a study's content, as the service has it in each result (`input_sha256`)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainmets.client.study_files import StudyFile


def digest_study(files: Sequence[StudyFile]) -> str:
    """Return the SHA-256, lower-case hexadecimal, of what would be sent; all files are read for it.

    The service computes the same (`digest_study` of its jobs): a test holds the two together.

    Raises:
        OSError: A file cannot be read.
    """
    return hashlib.sha256("".join(_line(file) for file in files).encode()).hexdigest()


def _line(file: StudyFile) -> str:
    # Counted as they come: the size of an archive that is made on the way is exact below 2 GiB only.
    content, size_bytes = hashlib.sha256(), 0
    for chunk in file.chunks():
        content.update(chunk)
        size_bytes += len(chunk)
    return f"{file.file_format} {file.sequence or '-'} {size_bytes} {content.hexdigest()}\n"
