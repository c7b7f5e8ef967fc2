"""Owns how tests call the published service: one study in one call, or step by step."""

import hashlib
import time
from collections.abc import Awaitable, Iterable

import pytest

from brainmets.imaging.errors import (
    BrainmetsError,
)
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import job_pb2, study_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from gateway_bench import GatewayBench, study_bytes

STUDY = study_bytes()
KINDS = [kind for kind in job_pb2.ArtifactKind.values() if kind]
UNKNOWN_ID = "0" * 32
WAIT_S = 60.0

Request = messages.SegmentStudyRequest | messages.WriteUploadRequest


def file_messages(
    kind: type[Request],
    content: bytes,
    *,
    file_index: int = 0,
    sequence: int = study_pb2.SEQUENCE_T1C,
    media_type: int = study_pb2.MEDIA_TYPE_NIFTI,
    offset_bytes: int = 0,
    sha256: bytes | None = None,
) -> list[Request]:
    """Return the messages that send one file; those of a file that goes on send its rest."""
    header = study_pb2.FileHeader(
        file_index=file_index,
        media_type=media_type,  # type: ignore[arg-type]  # also numbers that the contract does not know
        sequence=sequence,  # type: ignore[arg-type]  # also numbers that the contract does not know
        offset_bytes=offset_bytes,
    )
    chunks = [content[start : start + 50_000] for start in range(offset_bytes, len(content), 50_000)]
    end = study_pb2.FileEnd(sha256=hashlib.sha256(content).digest() if sha256 is None else sha256)
    return [kind(file_header=header), *(kind(chunk=chunk) for chunk in chunks), kind(file_end=end)]


def start(request_id: str = "", kinds: Iterable[int] = (), **options: object) -> messages.SegmentStudyRequest:
    """Return the first message of SegmentStudy."""
    return messages.SegmentStudyRequest(
        start=messages.SegmentStudyStart(
            request_id=request_id,
            options=job_pb2.SegmentationOptions(**options),  # type: ignore[arg-type]  # any of them
            artifacts=kinds,  # type: ignore[arg-type]  # numbers of the contract
        )
    )


async def segment(
    bench: GatewayBench, content: bytes = STUDY, *, request_id: str = "", **options: object
) -> tuple[list[job_pb2.Job], dict[int, bytes]]:
    """Send a study in one call; return the job's changes and the artefacts by kind.

    Raises:
        BrainmetsError: What the service answered.
    """
    requests = [start(request_id, KINDS, **options), *file_messages(messages.SegmentStudyRequest, content)]
    jobs: list[job_pb2.Job] = []
    files: dict[int, bytes] = {}
    opened = 0
    with rpc_errors():
        async for response in bench.segmentation.SegmentStudy(iter(requests), timeout=WAIT_S):
            payload = response.WhichOneof("payload")
            if payload == "job":
                jobs.append(response.job)
            elif payload == "artifact":
                opened = response.artifact.kind
                files[opened] = b""
            else:
                files[opened] += response.chunk
    return jobs, files


async def new_upload(bench: GatewayBench) -> str:
    """Open an upload."""
    answer = await bench.segmentation.CreateUpload(messages.CreateUploadRequest())
    return answer.upload.upload_id


async def write(bench: GatewayBench, upload_id: str, requests: Iterable[Request]) -> study_pb2.Upload:
    """Write into an upload."""
    first = messages.WriteUploadRequest(upload_id=upload_id)
    with rpc_errors():
        answer = await bench.segmentation.WriteUpload(iter([first, *requests]), timeout=WAIT_S)
    return answer.upload


async def uploaded(bench: GatewayBench, content: bytes = STUDY, **file: object) -> str:
    """Upload one file; return the upload."""
    upload_id = await new_upload(bench)
    await write(bench, upload_id, file_messages(messages.WriteUploadRequest, content, **file))  # type: ignore[arg-type]  # as there
    return upload_id


async def submit(bench: GatewayBench, upload_id: str, *, request_id: str = "", **options: object) -> job_pb2.Job:
    """Submit an upload."""
    request = messages.SubmitStudyRequest(
        upload_id=upload_id,
        request_id=request_id,
        options=job_pb2.SegmentationOptions(**options),  # type: ignore[arg-type]  # any of them
    )
    with rpc_errors():
        return (await bench.segmentation.SubmitStudy(request, timeout=WAIT_S)).job


async def job_of(bench: GatewayBench, job_id: str) -> job_pb2.Job:
    """Return a job."""
    with rpc_errors():
        return (await bench.segmentation.GetJob(messages.GetJobRequest(job_id=job_id))).job


async def ended(bench: GatewayBench, job_id: str) -> job_pb2.Job:
    """Watch a job to its end."""
    job = job_pb2.Job()
    with rpc_errors():
        async for change in bench.segmentation.WatchJob(messages.WatchJobRequest(job_id=job_id), timeout=WAIT_S):
            job = change.job
    return job


async def refused(kind: type[BrainmetsError], call: Awaitable[object]) -> BrainmetsError:
    """Return the error that a call is answered with, soon: two seconds where nothing else runs."""
    started_s = time.monotonic()
    with pytest.raises(BrainmetsError) as caught:
        await call
    assert type(caught.value) is kind
    assert time.monotonic() - started_s < 45.0
    return caught.value
