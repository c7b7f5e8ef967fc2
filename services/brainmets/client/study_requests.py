"""Owns the requests that carry a study's files, in one call with the study or into an upload."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from brainmets.client.names import sequence_number
from brainmets.v1 import segmentation_service_pb2, study_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from brainmets.client.study_files import StudyFile

# A thread reads and digests so many chunks of a file at a time, so that there are few hops to it.
CHUNKS_A_BLOCK = 8

Request = TypeVar("Request", segmentation_service_pb2.SegmentStudyRequest, segmentation_service_pb2.WriteUploadRequest)


class StudyRequests(Generic[Request]):
    """The requests of a call, and the error that broke them off: gRPC makes a cancellation of it."""

    def __init__(self, requests: AsyncIterator[Request], on_request: Callable[[], None]) -> None:
        self._requests: AsyncIterator[Request] = requests
        self._on_request = on_request
        self._error: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        self._on_request()
        try:
            return await anext(self._requests)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._error = error
            raise

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        task = asyncio.current_task()
        # Whoever cancels the caller, a timeout too, expects a cancellation.
        cancelled_by_others = task is not None and task.cancelling() > 0
        if isinstance(error, asyncio.CancelledError) and self._error is not None and not cancelled_by_others:
            raise self._error


class SentBytes:
    """Tells how many bytes of a study have gone out, and none twice, over all calls that send it.

    Args:
        told: Called with the number of bytes just sent.
    """

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told
        self._furthest: dict[int, int] = {}

    def reach(self, file_index: int, position: int) -> None:
        """Tell what of a file lies between here and where it was before."""
        count = position - self._furthest.get(file_index, 0)
        if count > 0:
            self._furthest[file_index] = position
            self._told(count)


def study_requests(
    first: Request,
    files: Sequence[StudyFile],
    *,
    stored: study_pb2.Upload | None = None,
    sent: SentBytes,
    on_request: Callable[[], None] = lambda: None,
) -> StudyRequests[Request]:
    """Return a call's requests.

    Args:
        first: What comes before the files.
        files: They are read as they are sent.
        stored: What of them is stored already, and is not sent again.
        sent: Learns of all that went out.
        on_request: Called each time that the call can take more.
    """
    return StudyRequests(_yield_requests(first, files, stored or study_pb2.Upload(), sent), on_request)


async def _yield_requests(
    first: Request, files: Sequence[StudyFile], stored: study_pb2.Upload, sent: SentBytes
) -> AsyncIterator[Request]:
    kind = type(first)
    for file in stored.files:
        # The last of it may have arrived before its sending was confirmed.
        sent.reach(file.header.file_index, file.received_bytes)
    yield first
    file_index = position = 0
    async for part in _file_parts(files, stored):
        if isinstance(part, study_pb2.FileHeader):
            file_index, position = part.file_index, part.offset_bytes
            yield kind(file_header=part)
        elif isinstance(part, study_pb2.FileEnd):
            yield kind(file_end=part)
        else:
            yield kind(chunk=part)
            position += len(part)
            sent.reach(file_index, position)


async def _file_parts(
    files: Sequence[StudyFile], stored: study_pb2.Upload
) -> AsyncIterator[study_pb2.FileHeader | bytes | study_pb2.FileEnd]:
    """Yield each file's header, bytes and end, but for what is stored already."""
    known = {file.header.file_index: file for file in stored.files}
    for file_index, file in enumerate(files):
        before = known.get(file_index, study_pb2.UploadedFile())
        if before.complete:
            continue
        yield study_pb2.FileHeader(
            file_index=file_index,
            media_type=study_pb2.MediaType.Value(f"MEDIA_TYPE_{file.file_format.name}"),
            sequence=sequence_number(file.sequence),
            offset_bytes=before.received_bytes,
        )
        digest, left_out = hashlib.sha256(), before.received_bytes
        chunks = file.chunks()
        while block := await asyncio.to_thread(_read_block, chunks, digest):
            for chunk in block:
                if unsent := chunk[left_out:]:
                    yield unsent
                left_out = max(0, left_out - len(chunk))
        yield study_pb2.FileEnd(sha256=digest.digest())


def _read_block(chunks: Iterator[bytes], digest: hashlib._Hash) -> list[bytes]:
    """Return the next chunks of a file, none at its end, and take them into its digest."""
    block = list(itertools.islice(chunks, CHUNKS_A_BLOCK))
    for chunk in block:
        digest.update(chunk)
    return block
