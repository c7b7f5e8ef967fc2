"""How a study's bytes come in, and what is left when they break off."""

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brainmets.gateway import study_upload
from brainmets.gateway.jobs import DEFAULT_TENANT, Upload, UploadedFile
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.study_upload import FileClosing, FileOpening, UploadMemory, UploadPiece, write_upload
from brainmets.imaging.errors import (
    DependencyUnavailableError,
    DigestMismatchError,
    InvalidArgumentError,
    StudyTooLargeError,
    UploadOffsetError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.runtime.artifact_store import ArtifactStore

CONTENT = bytes(range(256)) * 3
# Several are a study that is not too large.
SLICE = CONTENT[:100]
# Far beyond what anything here takes.
WAIT_S = 60.0


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An artefact store in a folder."""
    return ArtifactStore.open(f"file://{tmp_path}/store")


def opening(*, file_index: int = 0, offset_bytes: int = 0) -> FileOpening:
    """Open a file whose sequence the service is to decide."""
    return FileOpening(file_index, MediaType.NIFTI, None, offset_bytes)


def closing(content: bytes = CONTENT) -> FileClosing:
    """Close a file of this content."""
    return FileClosing(hashlib.sha256(content).digest())


def whole_file(file_index: int, *, sha256_of: bytes = SLICE) -> tuple[UploadPiece, ...]:
    """Open, send and close a slice."""
    return opening(file_index=file_index), SLICE, closing(sha256_of)


async def write(uploads: RedisUploadStore, artifacts: ArtifactStore, upload: Upload, *pieces: UploadPiece) -> None:
    """Write the pieces as one call does."""

    async def stream() -> AsyncIterator[UploadPiece]:
        for piece in pieces:
            yield piece

    await write_upload(upload, stream(), uploads=uploads, artifacts=artifacts, memory=UploadMemory())


async def only_file(uploads: RedisUploadStore, upload: Upload) -> UploadedFile:
    """Return the upload's one file as it is now."""
    (file,) = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    return file


async def stored(artifacts: ArtifactStore, file: UploadedFile) -> bytes:
    """Return a file's parts, joined."""
    return b"".join([await artifacts.read(part) for part in file.parts])


async def test_parts_are_the_file(
    uploads: RedisUploadStore, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored, joined in order, is what was sent."""
    monkeypatch.setattr(study_upload, "PART_BYTES", study_upload.MAX_CHUNK_BYTES + 100)
    upload = await uploads.create_upload(DEFAULT_TENANT)
    chunks = [CONTENT[start : start + 60] for start in range(0, len(CONTENT), 60)]
    await write(uploads, artifacts, upload, opening(), *chunks, closing())
    file = await only_file(uploads, upload)
    assert file.is_complete
    assert len(file.parts) > 2
    assert await stored(artifacts, file) == CONTENT


async def test_uploads_share_their_memory(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """Once it is short each writer stores what it has, a part for a chunk, and in the end nothing is held."""
    memory = UploadMemory(most_bytes=100)
    held = []

    async def stream() -> AsyncIterator[UploadPiece]:
        yield opening()
        for start in range(0, len(CONTENT), 60):
            held.append(memory.held_bytes)
            yield CONTENT[start : start + 60]
        yield closing()

    both = [await uploads.create_upload(DEFAULT_TENANT) for _ in range(2)]
    await asyncio.gather(
        *(write_upload(each, stream(), uploads=uploads, artifacts=artifacts, memory=memory) for each in both)
    )
    assert max(held) <= 100 + 2 * 60
    assert memory.held_bytes == 0
    for upload in both:
        assert await stored(artifacts, await only_file(uploads, upload)) == CONTENT


class HesitantStore:
    """A real artefact store whose writes wait for an event first, and fail where they are told to."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.may_write = asyncio.Event()
        self.failing = False

    async def put(self, path: str, data: bytearray) -> None:
        """Write a file, in time."""
        async with asyncio.timeout(WAIT_S):
            await self.may_write.wait()
        if self.failing:
            raise DependencyUnavailableError("The disk is full", expected="room", got="none", remedy="make some")
        await self._store.put(path, data)

    async def size(self, path: str) -> int:
        """Return a file's size."""
        return await self._store.size(path)

    def stream(self, path: str, *, offset_bytes: int, length_bytes: int) -> AsyncIterator[bytes]:
        """Yield a file's bytes."""
        return self._store.stream(path, offset_bytes=offset_bytes, length_bytes=length_bytes)


async def test_a_part_is_stored_while_the_next_comes_in(
    uploads: RedisUploadStore, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line need not wait for the disk, but for one part and no more."""
    monkeypatch.setattr(study_upload, "PART_BYTES", study_upload.MAX_CHUNK_BYTES + 100)
    upload, memory = await uploads.create_upload(DEFAULT_TENANT), UploadMemory()
    store, taken, both_taken = HesitantStore(artifacts), [], asyncio.Event()

    async def stream() -> AsyncIterator[UploadPiece]:
        yield opening()
        for start in range(0, len(CONTENT), 128):
            taken.append(start)
            if len(taken) == 2:
                both_taken.set()
            yield CONTENT[start : start + 128]
        yield closing()

    writing = asyncio.create_task(write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=memory))
    await both_taken.wait()
    await asyncio.sleep(0.1)
    assert len(taken) == 2
    store.may_write.set()
    await writing
    assert await stored(artifacts, await only_file(uploads, upload)) == CONTENT
    assert memory.held_bytes == 0


async def test_what_follows_a_lost_part_is_forgotten(
    uploads: RedisUploadStore, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later part never takes the place of one that could not be stored."""
    monkeypatch.setattr(study_upload, "PART_BYTES", study_upload.MAX_CHUNK_BYTES + 100)
    upload, memory = await uploads.create_upload(DEFAULT_TENANT), UploadMemory()
    store = HesitantStore(artifacts)

    async def stream() -> AsyncIterator[UploadPiece]:
        store.may_write.set()
        yield opening()
        yield CONTENT[:128]
        await asyncio.sleep(0.1)
        store.failing = True
        yield CONTENT[128:256]
        store.may_write.clear()
        yield CONTENT[256:300]
        store.may_write.set()
        yield CONTENT[300:]

    with pytest.raises(DependencyUnavailableError):
        await write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=memory)
    assert (await only_file(uploads, upload)).received_bytes == 128
    assert memory.held_bytes == 0
    await write(uploads, artifacts, upload, opening(offset_bytes=128), CONTENT[128:], closing())
    assert await stored(artifacts, await only_file(uploads, upload)) == CONTENT


async def test_a_file_is_closed_while_the_next_comes_in(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """The line need not wait for the disk between two files."""
    upload, memory = await uploads.create_upload(DEFAULT_TENANT), UploadMemory()
    store = HesitantStore(artifacts)

    async def stream() -> AsyncIterator[UploadPiece]:
        for piece in whole_file(0):
            yield piece
        for piece in whole_file(1):
            yield piece
        store.may_write.set()

    await write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=memory)
    files = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert [file.is_complete for file in files] == [True, True]
    assert [await stored(artifacts, file) for file in files] == [SLICE, SLICE]
    assert memory.held_bytes == 0


async def test_few_files_are_closed_at_a_time(
    uploads: RedisUploadStore, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends faster than the disk writes is made to wait."""
    monkeypatch.setattr(study_upload, "MAX_CLOSINGS", 2)
    upload, store, asked = await uploads.create_upload(DEFAULT_TENANT), HesitantStore(artifacts), []
    third_asked = asyncio.Event()

    async def stream() -> AsyncIterator[UploadPiece]:
        for file_index in range(5):
            asked.append(file_index)
            if len(asked) == 3:
                third_asked.set()
            for piece in whole_file(file_index):
                yield piece

    call = write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=UploadMemory())
    writing = asyncio.create_task(call)
    async with asyncio.timeout(WAIT_S):
        await third_asked.wait()
    await asyncio.sleep(0.1)
    assert len(asked) == 3
    store.may_write.set()
    await writing
    files = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert [file.is_complete for file in files] == [True] * 5


async def test_a_wrong_file_ends_the_call_while_others_come_in(
    uploads: RedisUploadStore, artifacts: ArtifactStore
) -> None:
    """The client hears of it without sending the rest, and what came of the other files is kept."""
    upload, memory = await uploads.create_upload(DEFAULT_TENANT), UploadMemory()
    store = HesitantStore(artifacts)

    async def endless() -> AsyncIterator[UploadPiece]:
        for piece in (*whole_file(0, sha256_of=b"other"), *whole_file(1), opening(file_index=2), SLICE):
            yield piece
        store.may_write.set()
        while True:
            await asyncio.sleep(0.01)
            yield b""

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(DigestMismatchError) as caught:
            await write_upload(upload, endless(), uploads=uploads, artifacts=store, memory=memory)
    assert caught.value.file_index == 0
    files = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert [file.is_complete for file in files] == [False, True, False]
    assert files[2].received_bytes == len(SLICE)
    assert memory.held_bytes == 0


async def test_of_two_wrong_files_one_is_told(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """The other's error is not left for the event loop to complain of."""
    upload, store, complaints = await uploads.create_upload(DEFAULT_TENANT), HesitantStore(artifacts), []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))

    async def stream() -> AsyncIterator[UploadPiece]:
        for piece in (*whole_file(0, sha256_of=b"other"), *whole_file(1, sha256_of=b"other")):
            yield piece
        store.may_write.set()

    with pytest.raises(DigestMismatchError):
        await write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=UploadMemory())
    gc.collect()
    assert complaints == []


async def test_cancelled_call_closes_what_came_whole(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """And it ends no sooner than that is done."""
    upload, memory = await uploads.create_upload(DEFAULT_TENANT), UploadMemory()
    store, taken = HesitantStore(artifacts), asyncio.Event()

    async def hanging() -> AsyncIterator[UploadPiece]:
        for piece in (*whole_file(0), *whole_file(1), opening(file_index=2), SLICE):
            yield piece
        taken.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(write_upload(upload, hanging(), uploads=uploads, artifacts=store, memory=memory))
    await taken.wait()
    task.cancel()
    await asyncio.sleep(0.1)
    assert not task.done()
    store.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    files = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert [file.is_complete for file in files] == [True, True, False]
    assert files[2].received_bytes == len(SLICE)
    assert memory.held_bytes == 0


async def test_call_cancelled_again_ends_once_all_is_stored(
    uploads: RedisUploadStore, artifacts: ArtifactStore
) -> None:
    """A server that stops closes the stores once its calls have ended."""
    upload, store, sent = await uploads.create_upload(DEFAULT_TENANT), HesitantStore(artifacts), asyncio.Event()

    async def stream() -> AsyncIterator[UploadPiece]:
        for piece in (*whole_file(0), opening(file_index=1), SLICE):
            yield piece
        sent.set()

    task = asyncio.create_task(write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=UploadMemory()))
    await sent.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done()
    store.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    first, second = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert first.is_complete
    assert second.received_bytes == len(SLICE)


async def test_a_file_opened_again_waits_for_its_closing(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """What comes last is what is kept, as if the files had come in calls of their own."""
    upload, store, closed_before = await uploads.create_upload(DEFAULT_TENANT), HesitantStore(artifacts), []

    async def stream() -> AsyncIterator[UploadPiece]:
        for piece in whole_file(0):
            yield piece
        asyncio.get_running_loop().call_later(0.1, store.may_write.set)
        yield opening()
        closed_before.append(store.may_write.is_set())
        yield CONTENT
        yield closing()

    await write_upload(upload, stream(), uploads=uploads, artifacts=store, memory=UploadMemory())
    assert closed_before == [True]
    file = await only_file(uploads, upload)
    assert file.is_complete
    assert await stored(artifacts, file) == CONTENT


async def test_upload_goes_on_where_it_broke_off(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """The digest of a resumed file covers what an earlier call stored."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    await write(uploads, artifacts, upload, opening(), CONTENT[:300])
    received = (await only_file(uploads, upload)).received_bytes
    assert received == 300
    await write(uploads, artifacts, upload, opening(offset_bytes=300), CONTENT[300:], closing())
    assert await stored(artifacts, await only_file(uploads, upload)) == CONTENT


async def test_an_upload_that_broke_off_at_its_end_is_closed(
    uploads: RedisUploadStore, artifacts: ArtifactStore
) -> None:
    """Nothing but the end is sent again."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    await write(uploads, artifacts, upload, opening(), CONTENT)
    await write(uploads, artifacts, upload, opening(offset_bytes=len(CONTENT)), closing())
    assert (await only_file(uploads, upload)).is_complete


async def test_cancelled_call_keeps_what_came(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """A client that dies in the middle need not send its bytes again."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    taken = asyncio.Event()

    async def hanging() -> AsyncIterator[UploadPiece]:
        yield opening()
        yield CONTENT[:300]
        taken.set()
        await asyncio.Event().wait()

    memory = UploadMemory()
    task = asyncio.create_task(write_upload(upload, hanging(), uploads=uploads, artifacts=artifacts, memory=memory))
    await taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await only_file(uploads, upload)).received_bytes == 300
    assert memory.held_bytes == 0


async def test_wrong_offset_is_refused(uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
    """Bytes are never put where they leave a gap."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(UploadOffsetError):
        await write(uploads, artifacts, upload, opening(offset_bytes=7), CONTENT)


async def test_wrong_digest_is_refused_and_mended_from_zero(
    uploads: RedisUploadStore, artifacts: ArtifactStore
) -> None:
    """A file whose bytes changed on the way is not closed; sent again, it is."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(DigestMismatchError):
        await write(uploads, artifacts, upload, opening(), CONTENT, closing(b"other"))
    assert not (await only_file(uploads, upload)).is_complete
    await write(uploads, artifacts, upload, opening(), CONTENT, closing())
    assert (await only_file(uploads, upload)).is_complete


@pytest.mark.parametrize("end", [(closing(bytes(1001)),), ()], ids=["closed", "broken off"])
async def test_too_large_study_leaves_no_bytes_behind(
    uploads: RedisUploadStore, artifacts: ArtifactStore, end: tuple[UploadPiece, ...]
) -> None:
    """What is refused is not stored either."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(StudyTooLargeError):
        await write(uploads, artifacts, upload, opening(), bytes(1001), *end)
    assert await artifacts.list_paths(upload.prefix) == ()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"chunk",),
        (closing(),),
        (opening(), opening(file_index=1)),
        (opening(file_index=study_upload.MAX_FILES),),
        (opening(), bytes(study_upload.MAX_CHUNK_BYTES + 1)),
    ],
    ids=["chunk first", "end first", "two headers", "1025th file", "large chunk"],
)
async def test_disorder_is_refused(
    uploads: RedisUploadStore, artifacts: ArtifactStore, pieces: tuple[UploadPiece, ...]
) -> None:
    """Messages out of order or out of range are the client's error."""
    upload = await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(InvalidArgumentError):
        await write(uploads, artifacts, upload, *pieces)
