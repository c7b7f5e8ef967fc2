"""Answers the published SegmentationService: message in, one call, message out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import grpc.aio

from brainmets.gateway.failures import status_of_failure
from brainmets.gateway.job_messages import (
    artifact_kind_from_proto,
    artifact_to_proto,
    file_closing_from_proto,
    file_opening_from_proto,
    job_to_proto,
    upload_to_proto,
)
from brainmets.gateway.jobs import DEFAULT_TENANT, ArtifactKind, Job, JobState
from brainmets.gateway.option_messages import canonical_options, deadline_s_from_options
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.request_stream import heard_out
from brainmets.gateway.store_refusals import invalid_argument
from brainmets.gateway.study_upload import MAX_STREAMS, UploadPiece, stream_of
from brainmets.gateway.submission import StudyDesk, SubmissionOrder, find_artifact
from brainmets.imaging.errors import BrainmetsError, JobCancelledError
from brainmets.runtime.grpc_errors import from_status
from brainmets.runtime.metrics import ApiMetrics
from brainmets.v1 import job_pb2, segmentation_service_pb2_grpc
from brainmets.v1 import segmentation_service_pb2 as messages

DEFAULT_PAGE_SIZE = 50

_SegmentRequests = AsyncIterator[messages.SegmentStudyRequest]
_WriteRequests = AsyncIterator[messages.WriteUploadRequest]
# Any context: the servicer asks nothing of its messages.
_Context = grpc.aio.ServicerContext[object, object]


class SegmentationServicer(segmentation_service_pb2_grpc.SegmentationServiceServicer):
    """Thin: what refuses is raised by what is called, and an interceptor turns it into a status."""

    def __init__(
        self,
        desk: StudyDesk,
        jobs: RedisJobStore,
        uploads: RedisUploadStore,
        *,
        metrics: ApiMetrics,
        job_deadline_s: float,
    ) -> None:
        self._desk = desk
        self._jobs = jobs
        self._uploads = uploads
        self._metrics = metrics
        self._job_deadline_s = job_deadline_s
        self._streams = asyncio.Semaphore(MAX_STREAMS)

    async def SegmentStudy(
        self, request_iterator: _SegmentRequests, context: _Context
    ) -> AsyncIterator[messages.SegmentStudyResponse]:
        """Upload, submit and follow one study, then send its artefacts."""
        with self._metrics.measure_submission():
            kinds, job = await self._accept(request_iterator)
        async with aclosing(self._desk.follow(job)) as changes:
            async for job in changes:
                if job.state in (JobState.FAILED, JobState.CANCELLED):
                    raise _unfinished(job)
                yield messages.SegmentStudyResponse(job=job_to_proto(job))
        for artifact in [find_artifact(job, kind) for kind in kinds]:
            yield messages.SegmentStudyResponse(artifact=artifact_to_proto(artifact))
            async for piece in self._desk.stream_artifact(artifact):
                self._metrics.sent_bytes.inc(len(piece))
                yield messages.SegmentStudyResponse(chunk=piece)

    async def _accept(self, requests: _SegmentRequests) -> tuple[list[ArtifactKind], Job]:
        """Return what is to be sent back, and the job that a call's study has become."""
        async with heard_out(requests), stream_of(self._streams):
            start = await _read_start(requests)
            kinds = [artifact_kind_from_proto(number) for number in start.artifacts]
            order = self._order(start.request_id, start.options)
            return kinds, await self._desk.accept(DEFAULT_TENANT, self._pieces(requests), order)

    async def _pieces(self, requests: _SegmentRequests | _WriteRequests) -> AsyncIterator[UploadPiece]:
        async for request in requests:
            piece = _piece(request)
            if isinstance(piece, bytes):
                self._metrics.received_bytes.inc(len(piece))
            yield piece

    def _order(self, request_id: str, options: job_pb2.SegmentationOptions) -> SubmissionOrder:
        deadline_s = deadline_s_from_options(options, default_s=self._job_deadline_s)
        return SubmissionOrder(request_id, canonical_options(options), deadline_s)

    async def CreateUpload(
        self, request: messages.CreateUploadRequest, context: _Context
    ) -> messages.CreateUploadResponse:
        """Open an upload."""
        upload = await self._uploads.create_upload(DEFAULT_TENANT)
        return messages.CreateUploadResponse(upload=upload_to_proto(upload))

    async def WriteUpload(self, request_iterator: _WriteRequests, context: _Context) -> messages.WriteUploadResponse:
        """Write files into an upload."""
        async with heard_out(request_iterator), stream_of(self._streams):
            upload_id = await _read_upload_id(request_iterator)
            upload = await self._desk.write(DEFAULT_TENANT, upload_id, self._pieces(request_iterator))
        return messages.WriteUploadResponse(upload=upload_to_proto(upload))

    async def GetUpload(self, request: messages.GetUploadRequest, context: _Context) -> messages.GetUploadResponse:
        """Tell what of an upload is stored."""
        upload = await self._uploads.read_upload(DEFAULT_TENANT, request.upload_id)
        return messages.GetUploadResponse(upload=upload_to_proto(upload))

    async def SubmitStudy(
        self, request: messages.SubmitStudyRequest, context: _Context
    ) -> messages.SubmitStudyResponse:
        """Accept an uploaded study."""
        with self._metrics.measure_submission():
            order = self._order(request.request_id, request.options)
            job = await self._desk.submit(DEFAULT_TENANT, request.upload_id, order)
        return messages.SubmitStudyResponse(job=job_to_proto(job))

    async def GetJob(self, request: messages.GetJobRequest, context: _Context) -> messages.GetJobResponse:
        """Return one job."""
        job = await self._jobs.read(DEFAULT_TENANT, request.job_id)
        return messages.GetJobResponse(job=job_to_proto(job))

    async def ListJobs(self, request: messages.ListJobsRequest, context: _Context) -> messages.ListJobsResponse:
        """List jobs, newest first."""
        jobs, next_page_token = await self._jobs.list_jobs(
            DEFAULT_TENANT, request.page_size or DEFAULT_PAGE_SIZE, page_token=request.page_token
        )
        return messages.ListJobsResponse(jobs=[job_to_proto(job) for job in jobs], next_page_token=next_page_token)

    async def WatchJob(
        self, request: messages.WatchJobRequest, context: _Context
    ) -> AsyncIterator[messages.WatchJobResponse]:
        """Stream a job each time it changes."""
        async for job in self._jobs.watch(DEFAULT_TENANT, request.job_id):
            yield messages.WatchJobResponse(job=job_to_proto(job))

    async def CancelJob(self, request: messages.CancelJobRequest, context: _Context) -> messages.CancelJobResponse:
        """Cancel a job that has not ended."""
        job = await self._jobs.cancel(DEFAULT_TENANT, request.job_id)
        return messages.CancelJobResponse(job=job_to_proto(job))

    async def DeleteJob(self, request: messages.DeleteJobRequest, context: _Context) -> messages.DeleteJobResponse:
        """Erase a job, its input and its results."""
        await self._desk.erase(DEFAULT_TENANT, request.job_id)
        return messages.DeleteJobResponse()

    async def DownloadArtifact(
        self, request: messages.DownloadArtifactRequest, context: _Context
    ) -> AsyncIterator[messages.DownloadArtifactResponse]:
        """Stream an artefact or a part of it."""
        job = await self._jobs.read(DEFAULT_TENANT, request.job_id)
        artifact = find_artifact(job, artifact_kind_from_proto(request.kind))
        pieces = self._desk.stream_artifact(
            artifact, offset_bytes=request.offset_bytes, length_bytes=request.length_bytes
        )
        # One message carries the artefact even when no byte of it follows.
        first = await anext(pieces, b"")
        self._metrics.sent_bytes.inc(len(first))
        yield messages.DownloadArtifactResponse(artifact=artifact_to_proto(artifact), chunk=first)
        async for piece in pieces:
            self._metrics.sent_bytes.inc(len(piece))
            yield messages.DownloadArtifactResponse(chunk=piece)


async def _read_start(requests: _SegmentRequests) -> messages.SegmentStudyStart:
    request = await anext(aiter(requests), None)
    if request is None or request.WhichOneof("payload") != "start":
        raise _out_of_order("start first")
    return request.start


async def _read_upload_id(requests: _WriteRequests) -> str:
    request = await anext(aiter(requests), None)
    if request is None or request.WhichOneof("payload") != "upload_id":
        raise _out_of_order("upload_id first")
    return request.upload_id


def _piece(request: messages.SegmentStudyRequest | messages.WriteUploadRequest) -> UploadPiece:
    match request.WhichOneof("payload"):
        case "file_header":
            return file_opening_from_proto(request.file_header)
        case "chunk":
            return request.chunk
        case "file_end":
            return file_closing_from_proto(request.file_end)
        case _:
            raise _out_of_order("file_header, chunk or file_end")


def _out_of_order(expected: str) -> BrainmetsError:
    return invalid_argument("The order of messages", expected=expected, got="another message or none")


def _unfinished(job: Job) -> BrainmetsError:
    if job.failure is not None:
        return from_status(status_of_failure(job.failure))
    return JobCancelledError(
        "The job was cancelled", expected="a result", got="none", remedy="submit the study again if it is wanted"
    )
