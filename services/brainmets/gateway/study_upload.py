"""Owns how a study's bytes come in: parts in the artefact store, a record of them, and a digest at the end."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

from brainmets.gateway.jobs import Upload
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.store_refusals import RETRY_AFTER_S, invalid_argument
from brainmets.imaging.errors import (
    BrainmetsError,
    DigestMismatchError,
    InvalidArgumentError,
    OverloadedError,
    RequestError,
    StudyError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.tasks import to_its_end

# A series of thin slices as single files, and then some; whoever has more sends them as one zip.
MAX_FILES = 1024
# Largest message of the published contract.
MAX_CHUNK_BYTES = 1024 * 1024
# One write and fsync a part. A file holds two at most: one that is being stored and one that comes in.
PART_BYTES = 8 * 1024 * 1024
# Four whole parts: beyond them all uploads at a time store smaller ones, down to a chunk each.
MEMORY_BYTES = 4 * PART_BYTES
# Calls that send files at a time. Each takes up to 5 MiB, and each other one of the 512 that the API has under way 1.6
# while it is refused: with the buffers above and 95 at the start, 1.3 GiB at most (DECISIONS 81).
MAX_STREAMS = 96
# Files of one call that are closed while the next comes in. With 8 or 16, 200 small files took as long (by hand).
MAX_CLOSINGS = 4


@dataclass(frozen=True, slots=True)
class FileOpening:
    """Opens a file, or goes on with one at `offset_bytes`; `sequence` is None when the service is to decide."""

    file_index: int
    media_type: MediaType
    sequence: Sequence | None
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class FileClosing:
    """Closes the open file; `sha256` holds 32 bytes, over the whole file."""

    sha256: bytes


UploadPiece = FileOpening | FileClosing | bytes


class UploadMemory:
    """What all uploads under way hold until it is stored.

    Args:
        most_bytes: While more is held than this, every writer stores what it has.
    """

    def __init__(self, most_bytes: int = MEMORY_BYTES) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    @property
    def is_short(self) -> bool:
        """Whether a writer should store what it has instead of waiting for a whole part."""
        return self.held_bytes > self._most_bytes


@asynccontextmanager
async def stream_of(streams: asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold one of the `MAX_STREAMS` while the block runs.

    Raises:
        OverloadedError: None is free.
    """
    if streams.locked():
        raise OverloadedError(
            "Too many files are being received",
            expected=f"at most {MAX_STREAMS} calls that send files",
            got="one more",
            remedy="retry later",
            retry_after_s=RETRY_AFTER_S,
        )
    async with streams:
        yield


async def write_upload(
    upload: Upload,
    pieces: AsyncIterator[UploadPiece],
    *,
    uploads: RedisUploadStore,
    artifacts: ArtifactStore,
    memory: UploadMemory,
) -> None:
    """Store the files that `pieces` carry: opening, bytes, closing, and so on for the next file.

    A file is closed while the next ones come in, and an error of that ends the call at the next piece. Once this
    returns, every file that has a closing is closed. What came before the pieces broke off is stored and can be gone on
    with.

    Raises:
        InvalidArgumentError: The pieces are out of order or out of range.
        UploadOffsetError: A file does not go on where it ends.
        DigestMismatchError: A file's bytes do not have the stated SHA-256; it must be sent again from 0.
        StudyTooLargeError: The files together are larger than the service takes.
    """
    writer: _FileWriter | None = None
    endings = _Endings()
    try:
        async for piece in pieces:
            endings.check()
            if isinstance(piece, FileOpening):
                if writer is not None:
                    raise _out_of_order("an end of the open file", got="a header")
                await endings.wait_for_file(piece.file_index)
                writer = await _FileWriter.open(upload, piece, uploads=uploads, artifacts=artifacts, memory=memory)
            elif writer is None:
                raise _out_of_order("a header", got="an end" if isinstance(piece, FileClosing) else "a chunk")
            elif isinstance(piece, FileClosing):
                endings.begin(writer.file_index, writer.close(piece.sha256))
                writer = None
                await endings.wait_until_left(MAX_CLOSINGS)
            else:
                await writer.write(piece)
        await endings.wait_until_left(0)
    finally:
        if writer is not None:
            endings.begin(writer.file_index, writer.flush())
        # A call that breaks off cancels this task; what came must be stored all the same.
        await to_its_end(endings.settle())
    endings.check()


class _Endings:
    """What is still to be done for files of one call that no more pieces come for: a task each, by its file_index."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, file_index: int, ending: Coroutine[None, None, None]) -> None:
        self._tasks[file_index] = asyncio.create_task(ending)

    def check(self) -> None:
        """Forget those that are done; raise the error of one that failed."""
        for file_index, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[file_index]
                task.result()

    async def wait_for_file(self, file_index: int) -> None:
        while file_index in self._tasks:
            await self._wait_for_any()

    async def wait_until_left(self, most: int) -> None:
        while len(self._tasks) > most:
            await self._wait_for_any()

    async def _wait_for_any(self) -> None:
        # Whoever gives up waiting does not stop them.
        await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        self.check()

    async def settle(self) -> None:
        """Wait for all without raising: the call may be ending with an error already."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class _FileWriter:
    """One open file: collects its bytes and stores them part by part, each while the next comes in."""

    def __init__(
        self,
        upload: Upload,
        opening: FileOpening,
        *,
        uploads: RedisUploadStore,
        artifacts: ArtifactStore,
        memory: UploadMemory,
    ) -> None:
        self._upload = upload
        self.file_index = opening.file_index
        self._offset_bytes = opening.offset_bytes
        self._last_part = ""
        self._uploads = uploads
        self._artifacts = artifacts
        self._memory = memory
        self._buffer = bytearray()
        self._storing: asyncio.Task[None] | None = None
        self._digest = hashlib.sha256()

    @classmethod
    async def open(
        cls,
        upload: Upload,
        opening: FileOpening,
        *,
        uploads: RedisUploadStore,
        artifacts: ArtifactStore,
        memory: UploadMemory,
    ) -> "_FileWriter":
        if not 0 <= opening.file_index < MAX_FILES:
            raise _too_many_files(opening.file_index)
        file = await uploads.open_file(
            upload.tenant,
            upload.upload_id,
            file_index=opening.file_index,
            media_type=opening.media_type,
            sequence=opening.sequence,
            offset_bytes=opening.offset_bytes,
        )
        writer = cls(upload, opening, uploads=uploads, artifacts=artifacts, memory=memory)
        for part in file.parts:
            await writer._digest_stored(part)
            writer._last_part = part
        return writer

    async def _digest_stored(self, path: str) -> None:
        size_bytes = await self._artifacts.size(path)
        async for piece in self._artifacts.stream(path, offset_bytes=0, length_bytes=size_bytes):
            self._digest.update(piece)

    async def write(self, chunk: bytes) -> None:
        if len(chunk) > MAX_CHUNK_BYTES:
            raise invalid_argument("chunk", expected=f"at most {MAX_CHUNK_BYTES} bytes", got=str(len(chunk)))
        self._buffer += chunk
        self._memory.held_bytes += len(chunk)
        if self._memory.is_short:
            await self.flush()
        elif len(self._buffer) > PART_BYTES - MAX_CHUNK_BYTES:
            await self._begin_storing()

    async def flush(self) -> None:
        await self._begin_storing()
        await self._finish_storing()

    async def _begin_storing(self) -> None:
        await self._finish_storing()
        if self._buffer:
            part, self._buffer = self._buffer, bytearray()
            self._storing = asyncio.create_task(self._store(part))

    async def _finish_storing(self) -> None:
        if self._storing is None:
            return
        # Whoever gives up waiting does not stop it.
        await asyncio.wait([self._storing])
        storing, self._storing = self._storing, None
        if storing.exception() is not None:
            # What follows a part that was not stored has no place.
            self._memory.held_bytes -= len(self._buffer)
            self._buffer.clear()
        storing.result()

    async def _store(self, part: bytearray) -> None:
        try:
            await self._store_at(self._offset_bytes, part)
        finally:
            self._memory.held_bytes -= len(part)
        self._offset_bytes += len(part)

    async def _store_at(self, offset_bytes: int, part: bytearray) -> None:
        # Two writers of one offset must not share a path: the record keeps the one that came first.
        path = f"{self._upload.prefix}{self.file_index}/{offset_bytes}-{uuid.uuid4().hex[:8]}"
        await asyncio.gather(self._artifacts.put(path, part), asyncio.to_thread(self._digest.update, part))
        try:
            await self._uploads.advance_file(
                self._upload.tenant,
                self._upload.upload_id,
                file_index=self.file_index,
                offset_bytes=offset_bytes,
                path=path,
                size_bytes=len(part),
            )
        except (RequestError, StudyError):
            # Refused, so no record names it, and a client that tries for ever must not fill the disk. After a lost
            # reply, in contrast, a record may name it.
            await self._artifacts.delete_prefix(path)
            raise
        self._last_part = path

    async def close(self, sha256: bytes) -> None:
        await self.flush()
        if self._digest.digest() != sha256:
            raise DigestMismatchError(
                "The file's bytes do not have the stated SHA-256",
                expected=sha256.hex(),
                got=self._digest.hexdigest(),
                remedy="send the file again from offset 0",
                file_index=self.file_index,
            )
        await self._uploads.close_file(
            self._upload.tenant,
            self._upload.upload_id,
            file_index=self.file_index,
            last_part=self._last_part,
            sha256=sha256,
        )


def _too_many_files(file_index: int) -> BrainmetsError:
    return InvalidArgumentError(
        "The study has too many files",
        expected=f"file_index 0 to {MAX_FILES - 1}",
        got=str(file_index),
        remedy="send the DICOM files as one zip archive, MEDIA_TYPE_DICOM_ZIP",
        file_index=file_index,
    )


def _out_of_order(expected: str, *, got: str) -> BrainmetsError:
    return invalid_argument("The order of messages", expected=expected, got=got)
