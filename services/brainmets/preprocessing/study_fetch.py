"""Owns the fetch of a study: its stored files come from the artefact store into shared memory, checked on the way."""

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import accumulate

from brainmets.imaging.errors import BrainmetsError, DataLossError
from brainmets.preprocessing.shared_memory import StudyBytes
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.tasks import task_group
from brainmets.wire.stored_file import StoredFile

# A study may have a thousand small files, and each may be a request over a network.
FETCHES_AT_A_TIME = 16


def file_offsets(files: tuple[StoredFile, ...]) -> tuple[int, ...]:
    """Return where each file begins when they lie one after the other, and where the last one ends."""
    return tuple(accumulate((file.size_bytes for file in files), initial=0))


async def fetch_files(
    files: tuple[StoredFile, ...], artifacts: ArtifactStore, *, into: StudyBytes, threads: Executor
) -> None:
    """Bring the files into memory, one after the other.

    Args:
        files: What is fetched, at the offsets of `file_offsets`.
        artifacts: Where they are stored.
        into: Where they go.
        threads: Where digests are computed.

    Raises:
        DataLossError: A part is missing, or the bytes are not those that were sent.
        DependencyUnavailableError: The artefact store cannot be reached now.
    """
    # One iterator for all: each takes the next file that nobody has taken.
    waiting = iter(zip(files, file_offsets(files), strict=False))
    async with task_group() as group:
        for _ in range(min(FETCHES_AT_A_TIME, len(files))):
            group.create_task(_fetch_waiting(waiting, artifacts, into=into, threads=threads))


async def _fetch_waiting(
    waiting: Iterator[tuple[StoredFile, int]], artifacts: ArtifactStore, *, into: StudyBytes, threads: Executor
) -> None:
    for file, begin in waiting:
        await _fetch(file, artifacts, begin=begin, into=into, threads=threads)


async def _fetch(
    file: StoredFile, artifacts: ArtifactStore, *, begin: int, into: StudyBytes, threads: Executor
) -> None:
    loop = asyncio.get_running_loop()
    digest = hashlib.sha256()
    place = begin
    for path in file.parts:
        part = await artifacts.read(path)
        if place + len(part) > begin + file.size_bytes:
            raise _changed(f"{file.size_bytes} bytes", got="more", file_index=file.file_index)
        into.write(part, offset_bytes=place)
        place += len(part)
        await loop.run_in_executor(threads, digest.update, part)
    if digest.digest() != file.sha256:
        raise _changed(f"SHA-256 {file.sha256.hex()}", got=digest.hexdigest(), file_index=file.file_index)


def _changed(expected: str, *, got: str, file_index: int) -> BrainmetsError:
    return DataLossError(
        "A stored file changed since it was sent",
        expected=expected,
        got=got,
        remedy="upload the study again, and tell the operator",
        file_index=file_index,
    )
