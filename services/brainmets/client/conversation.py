"""Owns what a service says of one study, from its acceptance to its files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import grpc

from brainmets.client.errors import ServiceError
from brainmets.client.jobs import Job, JobState, job_from_proto
from brainmets.client.results import Segmentation, segmentation_from_proto

if TYPE_CHECKING:
    from collections.abc import Callable

    from brainmets.v1 import job_pb2, segmentation_service_pb2


class Conversation:
    """What one SegmentStudy call has said so far."""

    def __init__(self, on_progress: Callable[[Job], None] | None) -> None:
        self.job: job_pb2.Job | None = None
        self._on_progress = on_progress
        self._artifacts: list[tuple[job_pb2.Artifact, bytearray]] = []

    def take(self, response: segmentation_service_pb2.SegmentStudyResponse) -> None:
        """Take its next message."""
        payload = response.WhichOneof("payload")
        if payload == "job":
            self.take_job(response.job)
        elif payload == "artifact":
            self._artifacts.append((response.artifact, bytearray()))
        elif payload == "chunk":
            self._artifacts[-1][1].extend(response.chunk)

    def take_job(self, job: job_pb2.Job) -> None:
        """Take what the job is now."""
        self.job = job
        if self._on_progress is not None:
            self._on_progress(job_from_proto(job))

    def finished_job(self) -> job_pb2.Job:
        """Return the job, which has succeeded.

        Raises:
            ServiceError: It has not, or none was named.
        """
        if self.job is None:
            raise ServiceError(
                code=grpc.StatusCode.INTERNAL, reason="NO_JOB", message="the service named no job", metadata={}
            )
        job = job_from_proto(self.job)
        if job.state is JobState.SUCCEEDED:
            return self.job
        if job.error is not None:
            raise job.error
        raise ServiceError(
            code=grpc.StatusCode.CANCELLED,
            reason="JOB_CANCELLED",
            message=f"job {job.job_id} was {job.state} before it had a result",
            metadata={},
        )

    def segmentation(self) -> Segmentation:
        """Return what came of the job.

        Raises:
            ServiceError: It has not succeeded, or a file arrived damaged.
        """
        job = self.finished_job()
        for artifact, content in self._artifacts:
            check_sha256(artifact, bytes(content))
        return segmentation_from_proto(
            job, {artifact.file_name: bytes(content) for artifact, content in self._artifacts}
        )


def check_sha256(artifact: job_pb2.Artifact, content: bytes) -> None:
    """Refuse an artefact's bytes that are not those that the service stated.

    Raises:
        ServiceError: They are not.
    """
    if hashlib.sha256(content).digest() != artifact.sha256:
        raise ServiceError(
            code=grpc.StatusCode.DATA_LOSS,
            reason="DIGEST_MISMATCH",
            message=f"{artifact.file_name} arrived with another SHA-256 than the service stated; fetch it again",
            metadata={},
        )
