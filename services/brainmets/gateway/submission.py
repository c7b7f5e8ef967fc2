"""Owns the steps by which a study is accepted, followed to its end, handed out and erased."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from brainmets.gateway.jobs import ArtifactKind, Job, NewJob, StoredArtifact, Upload
from brainmets.gateway.outputs import check_digest
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.store_refusals import invalid_argument, upload_incomplete
from brainmets.gateway.study_upload import UploadMemory, UploadPiece, write_upload
from brainmets.imaging.errors import (
    ArtifactOffsetError,
    BrainmetsError,
    InvalidArgumentError,
    InvalidJobStateError,
    MissingT1cError,
    UnknownArtifactError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.tasks import to_its_end
from brainmets.runtime.tracing import annotate_span, current_traceparent

MAX_REQUEST_ID_LENGTH = 128
# A client whose line broke comes back within this, or has given its study up. Both ends notice a line that is dead
# without a word within 30 s of each other (keepalive).
RETURN_GRACE_S = 30.0
# An upload within a call is nobody's once the call is gone; a process that is killed leaves as many as it had calls.
CALL_UPLOAD_LIFETIME_S = 300.0
# A slow line takes long to bring what is stored at once: so often an upload is renewed meanwhile.
RENEWALS_PER_LIFETIME = 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubmissionOrder:
    """How an upload is to become a job.

    `request_id` is the client's idempotency key, empty for the upload's own identifier; `options` is a serialised
    SegmentationOptions; `deadline_s` counts from acceptance to a final state.
    """

    request_id: str
    options: bytes
    deadline_s: float

    def __post_init__(self) -> None:
        """Refuse a request_id that is no key.

        Raises:
            InvalidArgumentError: It is too long or not printable ASCII.
        """
        name = self.request_id
        if len(name) > MAX_REQUEST_ID_LENGTH or not (name.isascii() and name.isprintable()):
            raise invalid_argument(
                "request_id",
                expected=f"at most {MAX_REQUEST_ID_LENGTH} printable ASCII characters",
                got=f"{len(name)} characters",
            )


class StudyDesk:
    """Takes studies in and hands results out, for any number of calls at a time."""

    def __init__(self, jobs: RedisJobStore, uploads: RedisUploadStore, artifacts: ArtifactStore) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._call_uploads = uploads.short_lived(CALL_UPLOAD_LIFETIME_S)
        self._artifacts = artifacts
        self._upload_memory = UploadMemory()
        self._draining = False
        self._departures: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Stop taking the end of a call for its client's wish, because from now on it is this process's."""
        self._draining = True

    async def write(self, tenant: str, upload_id: str, pieces: AsyncIterator[UploadPiece]) -> Upload:
        """Write files into an upload and return it as it is then; raises as `write_upload`."""
        upload = await self._uploads.read_upload(tenant, upload_id)
        await self._write(upload, pieces, uploads=self._uploads)
        return await self._uploads.read_upload(tenant, upload_id)

    async def _write(self, upload: Upload, pieces: AsyncIterator[UploadPiece], *, uploads: RedisUploadStore) -> None:
        await write_upload(
            upload,
            _renewing(upload, pieces, uploads),
            uploads=uploads,
            artifacts=self._artifacts,
            memory=self._upload_memory,
        )

    async def submit(self, tenant: str, upload_id: str, order: SubmissionOrder) -> Job:
        """Accept an upload; once this returns the study outlives the loss of any one process.

        Raises:
            UnknownUploadError: The upload has expired.
            UploadIncompleteError: A file is not complete.
            MissingT1cError: No file can be the T1c.
            RequestIdReusedError: The request_id was used for other bytes, file numbers or options.
            InvalidJobStateError: The upload was submitted under another request_id.
            OverloadedError: The queue is full.
        """
        upload = await self._uploads.read_upload(tenant, upload_id)
        new_job = NewJob(upload, order.request_id or upload_id, order.options, order.deadline_s, current_traceparent())
        if not upload.job_id:
            _check_files(upload)
        job = await self._jobs.submit(new_job)
        annotate_span(job_id=job.job_id)
        return job

    async def accept(self, tenant: str, pieces: AsyncIterator[UploadPiece], order: SubmissionOrder) -> Job:
        """Upload and submit a study at once; what was stored is erased again unless it becomes a job."""
        upload = await self._call_uploads.create_upload(tenant)
        job = None
        is_left = False
        try:
            await self._write(upload, pieces, uploads=self._call_uploads)
            job = await self.submit(tenant, upload.upload_id, order)
        except asyncio.CancelledError:
            is_left = not self._draining
            raise
        finally:
            # The job may be an older one, of the same request_id, with an upload of its own.
            if job is None or job.upload_id != upload.upload_id:
                await to_its_end(self._discard(upload, is_left=is_left))
        return job

    async def _discard(self, upload: Upload, *, is_left: bool) -> None:
        """Erase an upload; one that became a job all the same is that job's, which ends when its client has left."""
        try:
            try:
                erasures = await self._uploads.delete_upload(upload.tenant, upload.upload_id)
            except InvalidJobStateError:
                if is_left:
                    submitted = await self._uploads.read_upload(upload.tenant, upload.upload_id)
                    self._give_up(upload.tenant, submitted.job_id)
                return
            # A process that stops leaves it to the sweep: the store may be what it waits for.
            for erasure in () if self._draining else erasures:
                await self._artifacts.delete_prefix(erasure.prefix)
        except BrainmetsError as error:
            # The sweep erases it as well, and the client must hear how its call ended.
            _log.warning("upload_not_discarded", reason=error.reason, got=error.got)

    async def follow(self, job: Job) -> AsyncGenerator[Job]:
        """Yield a job as it changes, to its end; one that a follower leaves is cancelled unless somebody comes back.

        Whether a call was cancelled or its line broke is not told apart here, and who lost the line goes on with
        `watch`. So the job is given `RETURN_GRACE_S`.

        Raises:
            UnknownJobError: It was erased meanwhile.
        """
        try:
            async for change in self._jobs.watch(job.tenant, job.job_id):
                yield change
        except (asyncio.CancelledError, GeneratorExit):
            self._give_up(job.tenant, job.job_id)
            raise

    def _give_up(self, tenant: str, job_id: str) -> None:
        """Cancel a job that its client has left, unless somebody comes back for it meanwhile."""
        departure = asyncio.create_task(self._cancel_unless_watched(tenant, job_id))
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)

    async def _cancel_unless_watched(self, tenant: str, job_id: str) -> None:
        await asyncio.sleep(RETURN_GRACE_S)
        # It has ended and was erased, or Redis is away: then nobody needs to hear of it.
        with suppress(BrainmetsError):
            if not self._draining and not await self._jobs.is_watched(tenant, job_id):
                await self._jobs.cancel(tenant, job_id)

    async def erase(self, tenant: str, job_id: str) -> None:
        """Erase a job, its input, its results and its cache entry.

        Raises:
            UnknownJobError: It does not exist or is already erased.
        """
        for erasure in await self._jobs.delete(tenant, job_id):
            await self._artifacts.delete_prefix(erasure.prefix)

    async def stream_artifact(
        self, artifact: StoredArtifact, *, offset_bytes: int = 0, length_bytes: int = 0
    ) -> AsyncIterator[bytes]:
        """Yield an artefact's bytes in pieces of at most 1 MiB; `length_bytes` 0 means to the end.

        Raises:
            ArtifactOffsetError: The offset lies beyond the artefact's end.
            DataLossError: The stored bytes no longer agree with their SHA-256; none of them is yielded.
        """
        if offset_bytes > artifact.size_bytes:
            raise ArtifactOffsetError(
                "The artefact ends before the part that is asked for",
                expected=f"an offset of at most {artifact.size_bytes} bytes",
                got=str(offset_bytes),
                remedy="ask for a part inside the artefact",
            )
        await check_digest(self._artifacts, artifact)
        left_bytes = artifact.size_bytes - offset_bytes
        async for piece in self._artifacts.stream(
            artifact.path,
            offset_bytes=offset_bytes,
            length_bytes=min(length_bytes or left_bytes, left_bytes),
        ):
            yield piece


async def _renewing(
    upload: Upload, pieces: AsyncIterator[UploadPiece], uploads: RedisUploadStore
) -> AsyncIterator[UploadPiece]:
    """Yield pieces, and renew their upload while they come."""
    renewed = time.monotonic()
    async for piece in pieces:
        if time.monotonic() - renewed > uploads.lifetime_s / RENEWALS_PER_LIFETIME:
            await uploads.renew_upload(upload.tenant, upload.upload_id)
            renewed = time.monotonic()
        yield piece


def find_artifact(job: Job, kind: ArtifactKind) -> StoredArtifact:
    """Return a job's artefact.

    Raises:
        UnknownArtifactError: The job has none of this kind, or has not succeeded.
    """
    for artifact in job.artifacts:
        if artifact.kind is kind:
            return artifact
    raise UnknownArtifactError(
        "The job has no such artefact",
        expected=f"one of {', '.join(artifact.kind for artifact in job.artifacts) or 'none yet'}",
        got=kind,
        remedy="wait for the job to succeed, and ask for an artefact it lists",
    )


def _check_files(upload: Upload) -> None:
    """Refuse what is certain before decoding; what a DICOM file holds is not."""
    if not upload.is_complete:
        raise upload_incomplete("no file" if not upload.files else "a file that is not closed")
    nifti = [file for file in upload.files if file.media_type is MediaType.NIFTI]
    unstated = [file.file_index for file in nifti if file.sequence is None]
    if unstated and len(upload.files) > 1:
        raise _unstated_sequence(unstated[0])
    sequences = {file.sequence for file in nifti if file.sequence}
    if len(nifti) == len(upload.files) and not unstated and Sequence.T1C not in sequences:
        raise MissingT1cError(
            "No file can be the T1c",
            expected="a file of sequence T1C",
            got=", ".join(sorted(sequences)),
            remedy="add the T1-weighted series after contrast medium",
        )


def _unstated_sequence(file_index: int) -> BrainmetsError:
    return InvalidArgumentError(
        "The sequence of one NIfTI file among several is not stated",
        expected="SEQUENCE_T1C, _T1N, _T2W or _T2F for each NIfTI file",
        got="SEQUENCE_UNSPECIFIED",
        remedy="state the sequence of each file",
        file_index=file_index,
    )
