"""A study's files come into memory one after the other, whole and unchanged, and a thousand of them soon."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brainmets.imaging.errors import DataLossError
from brainmets.imaging.media_type import MediaType
from brainmets.preprocessing.shared_memory import Arena, StudyBytes
from brainmets.preprocessing.study_fetch import fetch_files, file_offsets
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.wire.stored_file import StoredFile

SLICE_BYTES = 115_000


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """A store in a folder."""
    return ArtifactStore.open(tmp_path.as_uri())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where digests are computed."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


async def store(artifacts: ArtifactStore, file_index: int, *parts: bytes) -> StoredFile:
    """Store a file in parts."""
    paths = tuple(f"uploads/{file_index}/{part}" for part in range(len(parts)))
    for path, part in zip(paths, parts, strict=True):
        await artifacts.put(path, part)
    content = b"".join(parts)
    return StoredFile(file_index, MediaType.DICOM, None, paths, hashlib.sha256(content).digest(), len(content))


async def fetched(files: tuple[StoredFile, ...], artifacts: ArtifactStore, threads: ThreadPoolExecutor) -> bytes:
    """Return the memory that the files are fetched into."""
    *_, end = file_offsets(files)
    with StudyBytes(end) as study:
        await fetch_files(files, artifacts, into=study, threads=threads)
        return os.pread(study.descriptor, end + 1, 0)


async def test_files_lie_one_after_the_other(artifacts: ArtifactStore, threads: ThreadPoolExecutor) -> None:
    """Parts are joined, and an empty file takes no room."""
    files = (
        await store(artifacts, 4, b"first ", b"file"),
        await store(artifacts, 2, b""),
        await store(artifacts, 3, b"third"),
    )
    assert await fetched(files, artifacts, threads) == b"first filethird"
    assert file_offsets(files) == (0, 10, 10, 15)


async def test_a_thousand_files_are_fetched_soon(
    artifacts: ArtifactStore, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """An examination of single instances is no slower than its bytes."""
    content = os.urandom(SLICE_BYTES)
    one = await store(artifacts, 0, content)
    files = tuple(
        StoredFile(index, one.media_type, None, (f"{index}",), one.sha256, SLICE_BYTES) for index in range(1000)
    )
    for file in files:
        (tmp_path / file.parts[0]).hardlink_to(tmp_path / one.parts[0])
    began_s = time.process_time()
    got = await fetched(files, artifacts, threads)
    # Half a second of all threads, whatever else the machine does.
    assert time.process_time() - began_s < 10.0
    assert got == 1000 * content


async def test_the_file_that_changed_is_named(artifacts: ArtifactStore, threads: ThreadPoolExecutor) -> None:
    """However many are fetched beside it."""
    files = [await store(artifacts, index, b"%d" % index) for index in range(40)]
    await artifacts.put(files[23].parts[0], b"!!")
    with pytest.raises(DataLossError) as caught:
        await fetched(tuple(files), artifacts, threads)
    assert caught.value.file_index == 23


async def test_a_file_that_grew_does_not_reach_into_the_next(
    artifacts: ArtifactStore, threads: ThreadPoolExecutor
) -> None:
    """It is data loss before a byte of it is written where another file lies."""
    files = (await store(artifacts, 0, b"short"), await store(artifacts, 1, b"next"))
    await artifacts.put(files[0].parts[0], b"longer than it was")
    with StudyBytes(9) as study:
        with pytest.raises(DataLossError):
            await fetch_files(files[:1], artifacts, into=study, threads=threads)
        assert os.pread(study.descriptor, 20, 0) == b""


def test_an_arena_knows_whether_it_is_viewed() -> None:
    """It is, as long as any array on its memory lives, also one that was cut out of another."""
    arena = Arena(4096)
    assert not arena.is_viewed
    whole = np.frombuffer(arena.view(4096), np.float32)
    part = whole[100:].reshape(4, -1)[1:]
    del whole
    assert arena.is_viewed
    del part
    assert not arena.is_viewed
    arena.close()


def test_an_arena_cannot_be_cut_short() -> None:
    """A decoder that was taken over cannot end the service by taking memory away under it."""
    arena = Arena(4096)
    with pytest.raises(PermissionError):
        os.ftruncate(arena.descriptor, 0)
    arena.close()
