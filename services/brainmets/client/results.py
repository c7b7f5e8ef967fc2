"""What the service answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from brainmets.client.errors import ServiceError, error_from_status
from brainmets.v1 import job_pb2, model_service_pb2, result_pb2, study_pb2

if TYPE_CHECKING:
    from datetime import datetime

MODEL_CHOICES = {
    "mean": job_pb2.MODEL_CHOICE_MEAN,
    "nested_unet": job_pb2.MODEL_CHOICE_NESTED_UNET,
    "attention_unet": job_pb2.MODEL_CHOICE_ATTENTION_UNET,
}


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
class SegmentationOptions:
    """How to segment; None leaves the choice to the service.

    Attributes:
        model: `mean` (default), `nested_unet` or `attention_unet`.
        threshold: Probability from which a voxel belongs to the mask, inside (0, 1).
        min_lesion_volume_mm3: Smallest lesion kept, mm³.
        deadline_s: Time from acceptance to a final state, seconds.
    """

    model: str = "mean"
    threshold: float | None = None
    min_lesion_volume_mm3: float | None = None
    deadline_s: float | None = None

    def to_proto(self) -> job_pb2.SegmentationOptions:
        """Return the options as the service takes them.

        Raises:
            ValueError: The model is not one of `MODEL_CHOICES`.
        """
        if self.model not in MODEL_CHOICES:
            raise ValueError(f"expected a model of {', '.join(MODEL_CHOICES)}, got {self.model}")
        options = job_pb2.SegmentationOptions(
            model=MODEL_CHOICES[self.model],
            threshold=self.threshold,
            min_lesion_volume_mm3=self.min_lesion_volume_mm3,
        )
        if self.deadline_s is not None:
            options.deadline.FromMilliseconds(round(1000 * self.deadline_s))
        return options


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion; lengths in mm, volume in mm³, centroid in LPS patient millimetres.

    `side` is left, right, midline or unspecified: the patient's side, judged from the brain's midline.
    """

    label: int
    volume_mm3: float
    longest_axial_diameter_mm: float
    perpendicular_axial_diameter_mm: float
    longest_diameter_mm: float
    centroid_mm: tuple[float, float, float]
    side: str
    mean_probability: float
    max_probability: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the input that a reader of the result should know."""

    code: str
    message: str
    sequence: str | None


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
        error: Why it failed, when it failed.
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


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A finished study. Research use only; not for diagnosis.

    Attributes:
        lesions: By falling volume.
        statement: The result in one sentence.
        threshold: Probability from which a voxel belongs to the mask.
        report: The whole typed result, brainmets.v1.SegmentationResult.
        files: File name → bytes of the artefacts asked for.
    """

    job: Job
    lesions: tuple[Lesion, ...]
    statement: str
    findings: tuple[Finding, ...]
    sequences_used: tuple[str, ...]
    models: tuple[str, ...]
    threshold: float
    report: result_pb2.SegmentationResult
    files: dict[str, bytes] = field(repr=False)

    def save(self, directory: str | Path) -> tuple[Path, ...]:
        """Write the artefacts into a directory, made when absent, and return their paths."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for file_name, content in self.files.items():
            # The last part only: a service never chooses where a client writes.
            path = folder / Path(file_name).name
            path.write_bytes(content)
            paths.append(path)
        return tuple(paths)


@dataclass(frozen=True, slots=True)
class Model:
    """A network the service uses."""

    model_name: str
    model_version: str
    onnx_sha256: str
    sequences: tuple[str, ...]
    threshold: float
    target: str
    training: str
    ready: bool


def sequence_name(sequence: study_pb2.Sequence.ValueType) -> str:
    """Return the BraTS name of a sequence, or `unspecified`."""
    return study_pb2.Sequence.Name(sequence).removeprefix("SEQUENCE_").lower()


def sequence_number(name: str | None) -> study_pb2.Sequence.ValueType:
    """Return a sequence from its BraTS name; None is unspecified.

    Raises:
        ValueError: Unknown name.
    """
    return study_pb2.Sequence.Value(f"SEQUENCE_{(name or 'unspecified').upper()}")


def job_from_proto(job: job_pb2.Job) -> Job:
    """Read a job."""
    failed = job.state == job_pb2.JOB_STATE_FAILED
    return Job(
        job_id=job.job_id,
        state=JobState(job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()),
        stage=job_pb2.Stage.Name(job.progress.stage).removeprefix("STAGE_").lower(),
        tiles_done=job.progress.tiles_done,
        tiles_total=job.progress.tiles_total,
        create_time=job.create_time.ToDatetime(),
        from_cache=job.from_cache,
        artifacts=tuple(artifact_from_proto(artifact) for artifact in job.artifacts),
        error=error_from_status(job.failure.status) if failed else None,
    )


def artifact_from_proto(artifact: job_pb2.Artifact) -> Artifact:
    """Read an artefact."""
    kind = job_pb2.ArtifactKind.Name(artifact.kind).removeprefix("ARTIFACT_KIND_").lower()
    return Artifact(kind, artifact.file_name, artifact.size_bytes, artifact.sha256)


def segmentation_from_proto(job: job_pb2.Job, files: dict[str, bytes]) -> Segmentation:
    """Read a succeeded job and its artefacts."""
    result = job.result
    return Segmentation(
        job=job_from_proto(job),
        lesions=tuple(_lesion_from_proto(lesion) for lesion in result.lesions),
        statement=result.statement,
        findings=tuple(_finding_from_proto(finding) for finding in result.findings),
        sequences_used=tuple(sequence_name(sequence) for sequence in result.sequences_used),
        models=tuple(model.model_name for model in result.models),
        threshold=result.threshold,
        report=result,
        files=files,
    )


def model_from_proto(model: model_service_pb2.Model) -> Model:
    """Read a model."""
    return Model(
        model_name=model.model_name,
        model_version=model.model_version,
        onnx_sha256=model.onnx_sha256,
        sequences=tuple(sequence_name(sequence) for sequence in model.sequences),
        threshold=model.threshold,
        target=model.target,
        training=model.training,
        ready=model.ready,
    )


def _lesion_from_proto(lesion: result_pb2.Lesion) -> Lesion:
    return Lesion(
        label=lesion.label,
        volume_mm3=lesion.volume_mm3,
        longest_axial_diameter_mm=lesion.longest_axial_diameter_mm,
        perpendicular_axial_diameter_mm=lesion.perpendicular_axial_diameter_mm,
        longest_diameter_mm=lesion.longest_diameter_mm,
        centroid_mm=(lesion.centroid.x_mm, lesion.centroid.y_mm, lesion.centroid.z_mm),
        side=result_pb2.Side.Name(lesion.side).removeprefix("SIDE_").lower(),
        mean_probability=lesion.mean_probability,
        max_probability=lesion.max_probability,
    )


def _finding_from_proto(finding: result_pb2.Finding) -> Finding:
    code = result_pb2.FindingCode.Name(finding.code).removeprefix("FINDING_CODE_")
    return Finding(code, finding.message, sequence_name(finding.sequence) if finding.sequence else None)
