"""Owns what is answered as JSON: jobs and their files."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from brainmets.client.jobs import Artifact, Job, JobState
from brainmets.rest.problems import Problem, problem_of


class ArtifactRecord(BaseModel):
    """A result file, to be had at /v1/jobs/{job_id}/artifacts/{file_name}."""

    file_name: str
    kind: str
    size_bytes: int
    sha256: str = Field(description="Of its bytes, hexadecimal.")

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Write a file's record."""
        return cls(
            file_name=artifact.file_name,
            kind=artifact.kind,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256.hex(),
        )


class JobRecord(BaseModel):
    """One accepted study. Research use only; not for diagnosis."""

    job_id: str
    state: JobState
    stage: str = Field(description="preparing, inferring, measuring or writing while it runs, else unspecified.")
    tiles_done: int = Field(description="Tiles inferred, all networks together.")
    tiles_total: int = Field(description="Tiles planned; 0 until known.")
    create_time: datetime
    from_cache: bool = Field(description="Whether the result was known before and nothing was computed.")
    artifacts: list[ArtifactRecord] = Field(description="Result files, once it has succeeded.")
    problem: Problem | None = Field(description="Why it failed, when it failed.")

    @classmethod
    def of(cls, job: Job) -> Self:
        """Write a job's record."""
        return cls(
            job_id=job.job_id,
            state=job.state,
            stage=job.stage,
            tiles_done=job.tiles_done,
            tiles_total=job.tiles_total,
            create_time=job.create_time,
            from_cache=job.from_cache,
            artifacts=[ArtifactRecord.of(artifact) for artifact in job.artifacts],
            problem=None if job.error is None else problem_of(job.error),
        )
