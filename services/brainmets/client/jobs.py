"""A study's way through the service, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from brainmets.client.errors import ServiceError, error_from_status
from brainmets.client.names import word_of
from brainmets.v1 import job_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


class JobState(StrEnum):
    """Where a job is. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job will not change any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A result file the service keeps."""

    kind: str
    file_name: str
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted study.

    Attributes:
        stage: preparing, inferring, measuring or writing while it runs, else unspecified.
        tiles_done: Tiles inferred, all networks together.
        tiles_total: Tiles planned; 0 until known.
        create_time: When it was accepted, UTC.
        error: Why it failed, when it failed.
        expire_time: When input and results will be erased, UTC; None where the service does not say.
    """

    job_id: str
    state: JobState
    stage: str
    tiles_done: int
    tiles_total: int
    create_time: datetime
    from_cache: bool
    artifacts: tuple[Artifact, ...]
    error: ServiceError | None
    expire_time: datetime | None = None


def job_from_proto(job: job_pb2.Job) -> Job:
    """Read a job."""
    failed = job.state == job_pb2.JOB_STATE_FAILED
    return Job(
        job_id=job.job_id,
        state=JobState(job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()),
        stage=word_of(job_pb2.Stage, job.progress.stage, prefix="STAGE_"),
        tiles_done=job.progress.tiles_done,
        tiles_total=job.progress.tiles_total,
        create_time=_time_of(job.create_time),
        from_cache=job.from_cache,
        artifacts=tuple(artifact_from_proto(artifact) for artifact in job.artifacts),
        error=error_from_status(job.failure.status) if failed else None,
        expire_time=_time_of(job.expire_time) if job.HasField("expire_time") else None,
    )


def artifact_from_proto(artifact: job_pb2.Artifact) -> Artifact:
    """Read an artefact."""
    kind = word_of(job_pb2.ArtifactKind, artifact.kind, prefix="ARTIFACT_KIND_")
    return Artifact(kind, artifact.file_name, artifact.size_bytes, artifact.sha256)


def _time_of(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
