"""The asynchronous client."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
from google.protobuf import json_format

from brainmets.client.channel import open_channel
from brainmets.client.conversation import Conversation, check_sha256
from brainmets.client.errors import ServiceError, StudyPathError, error_from_rpc
from brainmets.client.images import files_of_images
from brainmets.client.jobs import Job, job_from_proto
from brainmets.client.models import Model, model_from_proto
from brainmets.client.options import SegmentationOptions
from brainmets.client.patience import Patience, silence_ends_it
from brainmets.client.results import Segmentation, segmentation_from_proto
from brainmets.client.study_files import StudyFile, find_study_files
from brainmets.client.study_requests import SentBytes, study_requests
from brainmets.client.trace_context import carry_trace, continued_trace
from brainmets.v1 import (
    job_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    segmentation_service_pb2,
    segmentation_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from brainmets.client.tls import Tls

# A call that only reads or writes a record.
RECORD_TIMEOUT_S = 10.0
# One study, queue included: as long as something goes on, unless the caller says otherwise.
STUDY_TIMEOUT_S = math.inf
# A caller who gives up waits no longer than this for the service to know.
GIVE_UP_TIMEOUT_S = 2.0
# One call that watches a job, or carries files; it is made again at its deadline, as after a break, and goes on where
# it was. Without a deadline it would wait for ever for a service that does not come back, or hangs and answers pings.
STREAM_TIMEOUT_S = 300.0


ALL_ARTIFACTS: tuple[job_pb2.ArtifactKind.ValueType, ...] = (
    job_pb2.ARTIFACT_KIND_MASK_NIFTI,
    job_pb2.ARTIFACT_KIND_PROBABILITY_NIFTI,
    job_pb2.ARTIFACT_KIND_REPORT_JSON,
    job_pb2.ARTIFACT_KIND_LESIONS_CSV,
    job_pb2.ARTIFACT_KIND_OVERLAY_PNG,
)


StudyLike = str | Path | Mapping[str, Any] | Sequence[StudyFile]
"""A study as callers have it; Any: images of libraries that may be absent."""


class AsyncClient:
    """Calls a brainmets gateway. One client serves many calls; close it, or use it as a context manager.

    Args:
        address: host:port of the gateway.
        tls: How the line is secured; plaintext when unset.

    Attributes:
        patience: What all calls share from when it is set; else each has its own.

    Every method raises `ServiceError` with the service's code, reason and details. Every call belongs to the span that
    OpenTelemetry has active, where the caller uses it.
    """

    def __init__(self, address: str = "127.0.0.1:8500", *, tls: Tls | None = None) -> None:
        self.patience: Patience | None = None
        self._address = address
        self._conversations: set[Conversation] = set()
        self._channel = open_channel(address, tls)
        self._segmentation = carry_trace(segmentation_service_pb2_grpc.SegmentationServiceStub(self._channel))
        self._models = carry_trace(model_service_pb2_grpc.ModelServiceStub(self._channel))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled, and so are the jobs whose `segment` waits for them."""
        # First: nothing can be called over a channel that is closed.
        await asyncio.gather(*(self._give_up(conversation) for conversation in self._conversations))
        await self._channel.close(None)

    async def segment(
        self,
        study: StudyLike,
        options: SegmentationOptions | None = None,
        *,
        on_progress: Callable[[Job], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
        timeout_s: float = STUDY_TIMEOUT_S,
        traceparent: str | None = None,
    ) -> Segmentation:
        """Segment one study and return its result with all artefacts.

        Cancelling it, its timeout, an error of a callback, and closing the client cancel the job.

        A connection that breaks is mended: before acceptance the call is repeated under the same request_id, after it
        the job is watched to its end.

        Args:
            study: A path as `find_study_files` takes it, files with their sequences, or images by sequence as
                `files_of_images` takes them: {"t1c": image}.
            options: How to segment.
            on_progress: Called with the job each time it changes.
            on_sent: Called with the number of bytes just sent; what is sent again after a break is not told again.
            timeout_s: Longest wait, seconds; unset: as long as something goes on.
            traceparent: The W3C trace that the study belongs to; unset: that of the active span, if there is one.

        Raises:
            StudyPathError: The path holds nothing that can be sent, or it is none of these.
            OSError: A file could not be read while it was sent.
            TimeoutError: The wait was over; the job is cancelled.
            ValueError: The traceparent is none.
            ServiceError: The study was refused, failed, or the service stayed out of reach.
        """
        files = _find_files(study)
        start = segmentation_service_pb2.SegmentStudyStart(
            request_id=str(uuid.uuid4()),
            options=(options or SegmentationOptions()).to_proto(),
            artifacts=ALL_ARTIFACTS,
        )
        conversation = Conversation(on_progress)
        with continued_trace(traceparent):
            try:
                self._conversations.add(conversation)
                async with asyncio.timeout(timeout_s) as bound:
                    return await self._segment(conversation, start, files, on_sent)
            except ServiceError:
                raise
            except BaseException as error:
                ended = await self._give_up(conversation)
                if isinstance(error, TimeoutError) and bound.expired():
                    raise TimeoutError(f"no result within {timeout_s:g} s; {ended}") from None
                raise
            finally:
                self._conversations.discard(conversation)

    async def _segment(
        self,
        conversation: Conversation,
        start: segmentation_service_pb2.SegmentStudyStart,
        files: Sequence[StudyFile],
        on_sent: Callable[[int], None] | None,
    ) -> Segmentation:
        patience = self._patience()
        sent = _tell_progress(patience, on_sent)
        while True:
            try:
                with self._errors():
                    await self._converse(conversation, start, files, sent, patience)
                return conversation.segmentation()
            except ServiceError as failure:
                if conversation.job is not None and failure.is_transient:
                    return await self._watch_to_the_end(conversation, conversation.job.job_id, patience)
                await patience.bear(failure)

    async def _converse(
        self,
        conversation: Conversation,
        start: segmentation_service_pb2.SegmentStudyStart,
        files: Sequence[StudyFile],
        sent: SentBytes,
        patience: Patience,
    ) -> None:
        async with silence_ends_it(STREAM_TIMEOUT_S) as heard:
            requests = study_requests(
                segmentation_service_pb2.SegmentStudyRequest(start=start), files, sent=sent, on_request=heard
            )
            with requests:
                async for response in self._segmentation.SegmentStudy(requests):
                    heard()
                    patience.progressed()
                    conversation.take(response)

    async def _give_up(self, conversation: Conversation) -> str:
        """Cancel a job that nobody waits for, and say what became of it.

        Told nothing, the service waits half a minute for a line to be mended.
        """
        if conversation.job is None:
            return "the service had not the whole study, and nothing goes on there"
        job_id = conversation.job.job_id
        try:
            answer = await self._segmentation.CancelJob(
                segmentation_service_pb2.CancelJobRequest(job_id=job_id), timeout=GIVE_UP_TIMEOUT_S
            )
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):
            return f"job {job_id} may go on, for the service has not answered that it is cancelled"
        return f"job {job_id} is {job_from_proto(answer.job).state}"

    async def submit(
        self,
        study: StudyLike,
        options: SegmentationOptions | None = None,
        *,
        request_id: str | None = None,
        on_sent: Callable[[int], None] | None = None,
        timeout_s: float = STUDY_TIMEOUT_S,
        traceparent: str | None = None,
    ) -> Job:
        """Upload and submit a study and return its job at once. An upload that breaks goes on where it was.

        Args:
            study: As for `segment`.
            options: How to segment.
            request_id: Idempotency key; a repeated submit with the same key and bytes answers the same job.
            on_sent: As for `segment`.
            timeout_s: Longest time for sending, seconds; unset: as long as something goes on.
            traceparent: As for `segment`.

        Raises:
            StudyPathError: As for `segment`, and likewise the other errors.
        """
        files = _find_files(study)
        patience = self._patience()

        async def create() -> str:
            with self._errors():
                created = await self._segmentation.CreateUpload(
                    segmentation_service_pb2.CreateUploadRequest(), timeout=RECORD_TIMEOUT_S
                )
            return created.upload.upload_id

        with continued_trace(traceparent):
            upload_id = await patience.repeat(create)
            try:
                async with asyncio.timeout(timeout_s) as bound:
                    await self._upload(upload_id, files, on_sent, patience)
            except TimeoutError:
                if bound.expired():
                    raise TimeoutError(f"the study was not sent within {timeout_s:g} s; no job was begun") from None
                raise
            request = segmentation_service_pb2.SubmitStudyRequest(
                upload_id=upload_id,
                request_id=request_id or "",
                options=(options or SegmentationOptions()).to_proto(),
            )

            async def submit() -> segmentation_service_pb2.SubmitStudyResponse:
                with self._errors():
                    return await self._segmentation.SubmitStudy(request, timeout=RECORD_TIMEOUT_S)

            submitted = await patience.repeat(submit)
        return job_from_proto(submitted.job)

    async def _upload(
        self, upload_id: str, files: Sequence[StudyFile], on_sent: Callable[[int], None] | None, patience: Patience
    ) -> None:
        """Write an upload, going on after a broken line with what the service has not stored yet."""
        sent = _tell_progress(patience, on_sent)

        async def write_the_rest() -> None:
            with self._errors():
                answer = await self._segmentation.GetUpload(
                    segmentation_service_pb2.GetUploadRequest(upload_id=upload_id), timeout=RECORD_TIMEOUT_S
                )
                first = segmentation_service_pb2.WriteUploadRequest(upload_id=upload_id)
                requests = study_requests(first, files, stored=answer.upload, sent=sent)
                with requests:
                    await self._segmentation.WriteUpload(requests, timeout=STREAM_TIMEOUT_S)

        await patience.repeat(write_the_rest)

    async def wait(self, job_id: str, *, on_progress: Callable[[Job], None] | None = None) -> Segmentation:
        """Watch a job to its end, however far that is, and return its result with all artefacts.

        A watch that breaks is taken up again, also where the service is away for up to ten minutes.
        """
        return await self._watch_to_the_end(Conversation(on_progress), job_id, self._patience())

    async def watch(self, job_id: str) -> AsyncIterator[Job]:
        """Iterate over a job's changes: as it is now, each time it changes, and at last as it ended.

        A watch that breaks is taken up again, as by `wait`; no state is told twice.
        """
        async for job in self._changes(job_id, patience=self._patience()):
            yield job_from_proto(job)

    async def job(self, job_id: str) -> Job:
        """Return one job."""
        with self._errors():
            answer = await self._segmentation.GetJob(
                segmentation_service_pb2.GetJobRequest(job_id=job_id), timeout=RECORD_TIMEOUT_S
            )
        return job_from_proto(answer.job)

    async def jobs(self, *, page_size: int = 50) -> AsyncIterator[Job]:
        """Iterate over all jobs, newest first, page by page."""
        token = ""
        while True:
            with self._errors():
                page = await self._segmentation.ListJobs(
                    segmentation_service_pb2.ListJobsRequest(page_size=page_size, page_token=token),
                    timeout=RECORD_TIMEOUT_S,
                )
            for job in page.jobs:
                yield job_from_proto(job)
            token = page.next_page_token
            if not token:
                return

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended is returned as it is."""
        with self._errors():
            answer = await self._segmentation.CancelJob(
                segmentation_service_pb2.CancelJobRequest(job_id=job_id), timeout=RECORD_TIMEOUT_S
            )
        return job_from_proto(answer.job)

    async def delete(self, job_id: str) -> None:
        """Erase a job with its input and results."""
        with self._errors():
            await self._segmentation.DeleteJob(
                segmentation_service_pb2.DeleteJobRequest(job_id=job_id), timeout=RECORD_TIMEOUT_S
            )

    async def models(self) -> tuple[Model, ...]:
        """Return the networks the service uses."""
        with self._errors():
            answer = await self._models.ListModels(model_service_pb2.ListModelsRequest(), timeout=RECORD_TIMEOUT_S)
        return tuple(model_from_proto(model) for model in answer.models)

    async def model_card(self, model_name: str) -> dict[str, Any]:  # Any: what JSON holds
        """Return a network's model card: data, metrics, calibration, known failures.

        Raises:
            ServiceError: NOT_FOUND: the service uses no network of that name.
        """
        request = model_service_pb2.GetModelRequest(model_name=model_name)
        with self._errors():
            answer = await self._models.GetModel(request, timeout=RECORD_TIMEOUT_S)
        card: dict[str, Any] = json.loads(
            json_format.MessageToJson(answer.model_card, sort_keys=True), parse_float=_number_from_struct
        )
        return card

    async def download(self, job_id: str, kind: job_pb2.ArtifactKind.ValueType) -> tuple[str, bytes]:
        """Return the file name and bytes of one artefact, checked against its SHA-256."""
        return await self._download(job_id, kind, self._patience())

    async def _download(
        self, job_id: str, kind: job_pb2.ArtifactKind.ValueType, patience: Patience
    ) -> tuple[str, bytes]:
        """Fetch an artefact, going on after a broken line behind what has come."""
        artifact, content = job_pb2.Artifact(), bytearray()

        async def fetch_the_rest() -> None:
            request = segmentation_service_pb2.DownloadArtifactRequest(
                job_id=job_id, kind=kind, offset_bytes=len(content)
            )
            with self._errors():
                async for message in self._segmentation.DownloadArtifact(request, timeout=STREAM_TIMEOUT_S):
                    if message.HasField("artifact"):
                        artifact.CopyFrom(message.artifact)
                    if message.chunk:
                        content.extend(message.chunk)
                        patience.progressed()

        await patience.repeat(fetch_the_rest)
        check_sha256(artifact, bytes(content))
        return artifact.file_name, bytes(content)

    async def _watch_to_the_end(self, conversation: Conversation, job_id: str, patience: Patience) -> Segmentation:
        async for changed in self._changes(job_id, known=conversation.job, patience=patience):
            conversation.take_job(changed)
        job = conversation.finished_job()
        files = dict([await self._download(job_id, artifact.kind, patience) for artifact in job.artifacts])
        return segmentation_from_proto(job, files)

    async def _changes(
        self, job_id: str, *, known: job_pb2.Job | None = None, patience: Patience
    ) -> AsyncIterator[job_pb2.Job]:
        """Yield a job each time it is another than `known`, to its end, over as many calls as that takes."""
        request = segmentation_service_pb2.WatchJobRequest(job_id=job_id)
        while True:
            try:
                with self._errors():
                    async for response in self._segmentation.WatchJob(
                        request,
                        timeout=STREAM_TIMEOUT_S,
                        # A service that told of the job is waited for: it is stored there, and goes on without us.
                        wait_for_ready=known is not None,
                    ):
                        patience.progressed()
                        if response.job != known:
                            known = response.job
                            yield known
            except ServiceError as failure:
                await patience.bear(failure)
            else:
                return

    def _patience(self) -> Patience:
        return self.patience or Patience()

    def _errors(self) -> _RpcErrors:
        return _RpcErrors(self._address)


def _find_files(study: StudyLike) -> tuple[StudyFile, ...]:
    if isinstance(study, str | Path):
        return find_study_files(Path(study))
    if isinstance(study, Mapping):
        return files_of_images(study)
    given: Any = study  # Any: a caller without a type checker may give something else, as an image alone
    if not isinstance(given, Sequence):
        raise _no_study(type(given).__name__)
    for file in given:
        if not isinstance(file, StudyFile):
            raise _no_study(f"{type(given).__name__} of {type(file).__name__}")
    return tuple(given)


def _no_study(got: str) -> StudyPathError:
    return StudyPathError(
        'expected a path, files with their sequences (StudyFile), or images by sequence, as {"t1c": image}; '
        f"got {got}"
    )


def _number_from_struct(text: str) -> float:
    """Return a number; whole again where it is, for a Struct knows none but doubles, and seeds and counts are none."""
    number = float(text)
    return int(number) if number.is_integer() else number


class _RpcErrors:
    """Turns a failed RPC into a ServiceError, and one over a channel that is closed into a RuntimeError."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise error_from_rpc(error, address=self._address) from error
        if isinstance(error, grpc.aio.UsageError):
            message = "expected a call before the client is closed, got one after close(); make another client for it"
            raise RuntimeError(message) from error  # noqa: TRY004 -- no type of the caller's is wrong


def _tell_progress(patience: Patience, on_sent: Callable[[int], None] | None) -> SentBytes:
    """Return what counts a study's bytes, for whoever waits and for the caller."""

    def told(count: int) -> None:
        patience.progressed()
        if on_sent is not None:
            on_sent(count)

    return SentBytes(told)
