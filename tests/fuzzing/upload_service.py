"""Owns a gateway without a network: its servicer before stores in memory, to be called with any stream of messages."""

import asyncio
import atexit
import hashlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar

from obstore.store import MemoryStore
from prometheus_client import CollectorRegistry

from brainmets.gateway.jobs import DEFAULT_TENANT, Erasure, NewJob, Upload, UploadedFile
from brainmets.gateway.servicer import SegmentationServicer
from brainmets.gateway.store_refusals import (
    RETRY_AFTER_S,
    check_identifier,
    file_refused,
    study_too_large,
    unknown_upload,
)
from brainmets.gateway.submission import StudyDesk
from brainmets.imaging.errors import OverloadedError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.metrics import ApiMetrics
from brainmets.v1 import segmentation_service_pb2 as messages

# The only upload there is, so that a fuzzer can name it.
UPLOAD_ID = "0" * 32
MAX_STUDY_BYTES = 1000
_EMPTY = Upload(DEFAULT_TENANT, UPLOAD_ID, revision=0, expire_time_ms=0)
_loop = asyncio.new_event_loop()
atexit.register(_loop.close)

Answer = TypeVar("Answer")
Request = TypeVar("Request")


@dataclass
class MemoryUploads:
    """Keeps one upload as `RedisUploadStore` keeps many, which the same tests show."""

    files: dict[int, UploadedFile] = field(default_factory=dict)
    lifetime_s: float = float("inf")

    def short_lived(self, _most_s: float) -> "MemoryUploads":
        """Return itself: nothing expires."""
        return self

    async def create_upload(self, tenant: str) -> Upload:
        """Begin the upload afresh."""
        self.files.clear()
        return await self.read_upload(tenant, UPLOAD_ID)

    async def read_upload(self, tenant: str, upload_id: str) -> Upload:
        """Return the upload."""
        check_identifier(upload_id, unknown_upload)
        if upload_id != UPLOAD_ID:
            raise unknown_upload()
        return replace(_EMPTY, tenant=tenant, files=tuple(self.files[index] for index in sorted(self.files)))

    async def open_file(
        self,
        tenant: str,
        upload_id: str,
        *,
        file_index: int,
        media_type: MediaType,
        sequence: Sequence | None,
        offset_bytes: int,
    ) -> UploadedFile:
        """Open a file where it ends, or afresh at 0."""
        await self.read_upload(tenant, upload_id)
        known = self.files.get(file_index)
        received_bytes = known.received_bytes if known else 0
        if offset_bytes not in {0, received_bytes}:
            raise file_refused(b"offset", received_bytes=received_bytes, file_index=file_index)
        if known is None or offset_bytes == 0:
            known = UploadedFile(file_index, media_type, sequence, (), 0)
        self.files[file_index] = replace(known, media_type=media_type, sequence=sequence)
        return self.files[file_index]

    async def advance_file(
        self, tenant: str, upload_id: str, *, file_index: int, offset_bytes: int, path: str, size_bytes: int
    ) -> UploadedFile:
        """Append a part."""
        upload = await self.read_upload(tenant, upload_id)
        file = self._opened(file_index)
        if file.received_bytes == offset_bytes + size_bytes and file.parts[-1:] == (path,):
            return file
        if file.received_bytes != offset_bytes:
            raise file_refused(b"offset", received_bytes=file.received_bytes, file_index=file_index)
        total_bytes = upload.received_bytes + size_bytes
        if total_bytes > MAX_STUDY_BYTES:
            raise study_too_large(total_bytes, most_bytes=MAX_STUDY_BYTES, file_index=file_index)
        grown = replace(file, parts=(*file.parts, path), received_bytes=offset_bytes + size_bytes, sha256=b"")
        self.files[file_index] = grown
        return grown

    async def close_file(
        self, tenant: str, upload_id: str, *, file_index: int, last_part: str, sha256: bytes
    ) -> UploadedFile:
        """Close a file that ends with a part."""
        await self.read_upload(tenant, upload_id)
        file = self._opened(file_index)
        if (file.parts or ("",))[-1] != last_part:
            raise file_refused(b"offset", received_bytes=file.received_bytes, file_index=file_index)
        self.files[file_index] = replace(file, sha256=sha256)
        return self.files[file_index]

    async def delete_upload(self, tenant: str, upload_id: str) -> tuple[Erasure, ...]:
        """Forget the upload's files."""
        upload = await self.read_upload(tenant, upload_id)
        self.files.clear()
        return (Erasure(upload.prefix, 0),)

    def _opened(self, file_index: int) -> UploadedFile:
        if file_index not in self.files:
            raise file_refused(b"unopened", received_bytes=0, file_index=file_index)
        return self.files[file_index]


class FullQueue:
    """A queue that takes no job, so that whatever was uploaded for one must be gone afterwards."""

    async def submit(self, new_job: NewJob) -> NoReturn:
        """Refuse."""
        raise OverloadedError(
            "The queue is full",
            expected="fewer jobs",
            got=f"one of {len(new_job.upload.files)} files",
            remedy="retry later",
            retry_after_s=RETRY_AFTER_S,
        )


class UploadService:
    """The gateway's servicer, and what its stores hold after a call."""

    def __init__(self) -> None:
        self.uploads = MemoryUploads()
        self.artifacts = ArtifactStore(MemoryStore(), None)
        # Both stand where adapters to Redis do, which have no Protocol of their own.
        jobs, uploads = FullQueue(), self.uploads
        self._servicer = SegmentationServicer(
            StudyDesk(jobs, uploads, self.artifacts),  # type: ignore[arg-type]
            jobs,  # type: ignore[arg-type]
            uploads,  # type: ignore[arg-type]
            metrics=ApiMetrics(CollectorRegistry()),
            job_deadline_s=60.0,
        )

    def write_upload(self, requests: Iterable[messages.WriteUploadRequest]) -> None:
        """Call WriteUpload."""
        run(self._servicer.WriteUpload(_stream(requests), None))  # type: ignore[arg-type]  # it asks nothing of it

    def segment_study(self, requests: Iterable[messages.SegmentStudyRequest]) -> None:
        """Call SegmentStudy; the queue refuses at last."""

        async def follow() -> None:
            async with aclosing(self._servicer.SegmentStudy(_stream(requests), None)) as answers:  # type: ignore[type-var, arg-type]
                async for _ in answers:
                    pass

        run(follow())

    def stored_bytes(self) -> int:
        """Return how many bytes the artefact store holds."""
        return sum(len(run(self.artifacts.read(path))) for path in run(self.artifacts.list_paths("uploads/")))

    def check_digests(self) -> None:
        """Raise an AssertionError unless the stored parts of each closed file have the SHA-256 it was closed with."""
        for file in self.uploads.files.values():
            parts = [run(self.artifacts.read(path)) for path in file.parts]
            if sum(map(len, parts)) != file.received_bytes:
                raise AssertionError("a file's parts are not as long as its record says")
            if file.is_complete and hashlib.sha256(b"".join(parts)).digest() != file.sha256:
                raise AssertionError("a file was closed with a digest that is not its own")


def run(call: Coroutine[object, object, Answer]) -> Answer:
    """Return what a call answers; all calls of a process share one event loop, which costs less than one each."""
    return _loop.run_until_complete(call)


async def _stream(requests: Iterable[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request
