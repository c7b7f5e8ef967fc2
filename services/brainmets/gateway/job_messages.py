"""Owns how the gateway's records stand in the published contract's messages, and back."""

from google.protobuf.timestamp_pb2 import Timestamp

from brainmets.gateway.failures import status_of_failure
from brainmets.gateway.jobs import (
    ArtifactKind,
    Job,
    JobState,
    Progress,
    Stage,
    StoredArtifact,
    Upload,
    UploadedFile,
)
from brainmets.gateway.model_contract import ModelContract
from brainmets.gateway.store_refusals import invalid_argument
from brainmets.gateway.study_upload import FileClosing, FileOpening
from brainmets.imaging.errors import InvalidArgumentError, UnsupportedFormatError
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.result import INTENDED_USE
from brainmets.v1 import job_pb2, model_service_pb2, result_pb2, study_pb2
from brainmets.wire.names import (
    media_type_from_proto,
    media_type_to_proto,
    operating_point_to_proto,
    sequence_from_proto,
    sequence_to_proto,
)

_SHA256_BYTES = 32
_MEDIA_TYPES = "MEDIA_TYPE_NIFTI, _DICOM or _DICOM_ZIP"

_STAGES = {
    Stage.NONE: job_pb2.STAGE_UNSPECIFIED,
    Stage.PREPARING: job_pb2.STAGE_PREPARING,
    Stage.INFERRING: job_pb2.STAGE_INFERRING,
    Stage.MEASURING: job_pb2.STAGE_MEASURING,
    Stage.WRITING: job_pb2.STAGE_WRITING,
}


def file_opening_from_proto(header: study_pb2.FileHeader) -> FileOpening:
    """Return what opens a file.

    Raises:
        InvalidArgumentError: The encoding is not stated.
        UnsupportedFormatError: The encoding is of a newer contract.
    """
    media_type = media_type_from_proto(header.media_type)
    if header.media_type == study_pb2.MEDIA_TYPE_UNSPECIFIED:
        raise InvalidArgumentError(
            "media_type is not stated",
            expected=_MEDIA_TYPES,
            got="MEDIA_TYPE_UNSPECIFIED",
            remedy="state the encoding of the file",
            file_index=header.file_index,
        )
    if media_type is None:
        raise UnsupportedFormatError(
            "The file's encoding is not known",
            expected=_MEDIA_TYPES,
            got=str(header.media_type),
            remedy="convert the file to NIfTI or DICOM",
            file_index=header.file_index,
        )
    return FileOpening(
        file_index=header.file_index,
        media_type=media_type,
        sequence=sequence_from_proto(header.sequence),
        offset_bytes=header.offset_bytes,
    )


def file_closing_from_proto(end: study_pb2.FileEnd) -> FileClosing:
    """Return what closes a file.

    Raises:
        InvalidArgumentError: The digest is not 32 bytes.
    """
    if len(end.sha256) != _SHA256_BYTES:
        raise invalid_argument("file_end.sha256", expected="32 bytes", got=f"{len(end.sha256)} bytes")
    return FileClosing(end.sha256)


def upload_to_proto(upload: Upload) -> study_pb2.Upload:
    """Return an upload as clients see it."""
    return study_pb2.Upload(
        upload_id=upload.upload_id,
        files=[_uploaded_file_to_proto(file) for file in upload.files],
        expire_time=_timestamp(upload.expire_time_ms),
    )


def _uploaded_file_to_proto(file: UploadedFile) -> study_pb2.UploadedFile:
    return study_pb2.UploadedFile(
        header=study_pb2.FileHeader(
            file_index=file.file_index,
            media_type=media_type_to_proto(file.media_type),
            sequence=sequence_to_proto(file.sequence),
        ),
        received_bytes=file.received_bytes,
        complete=file.is_complete,
    )


def job_to_proto(job: Job) -> job_pb2.Job:
    """Return a job as clients see it."""
    return job_pb2.Job(
        job_id=job.job_id,
        state=job_pb2.JobState.Value(f"JOB_STATE_{job.state.name}"),
        progress=_progress_to_proto(job.progress) if job.state is JobState.RUNNING else None,
        create_time=_timestamp(job.create_time_ms),
        update_time=_timestamp(job.update_time_ms),
        attempt=job.attempt,
        options=job_pb2.SegmentationOptions.FromString(job.options),
        result=result_pb2.SegmentationResult.FromString(job.result) if job.result else None,
        artifacts=[artifact_to_proto(artifact) for artifact in job.artifacts],
        failure=_failure_to_proto(job),
        expire_time=_timestamp(job.expire_time_ms) if job.expire_time_ms else None,
        from_cache=job.from_cache,
    )


def _progress_to_proto(progress: Progress) -> job_pb2.Progress:
    return job_pb2.Progress(
        stage=_STAGES[progress.stage], tiles_done=progress.tiles_done, tiles_total=progress.tiles_total
    )


def _failure_to_proto(job: Job) -> job_pb2.Failure | None:
    if job.failure is None:
        return None
    return job_pb2.Failure(
        reason=job_pb2.FailureReason.Value(f"FAILURE_REASON_{job.failure.reason.name}"),
        status=status_of_failure(job.failure),
    )


def artifact_to_proto(artifact: StoredArtifact) -> job_pb2.Artifact:
    """Return a result file as clients see it."""
    return job_pb2.Artifact(
        kind=job_pb2.ArtifactKind.Value(f"ARTIFACT_KIND_{artifact.kind.name}"),
        file_name=artifact.file_name,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
    )


def artifact_kind_from_proto(number: job_pb2.ArtifactKind.ValueType) -> ArtifactKind:
    """Return the kind of a result file.

    Raises:
        InvalidArgumentError: It is not stated, or is of a newer contract.
    """
    for kind in ArtifactKind:
        if job_pb2.ArtifactKind.Value(f"ARTIFACT_KIND_{kind.name}") == number:
            return kind
    raise invalid_argument("kind", expected="an ArtifactKind", got=str(number))


def model_to_proto(model: ModelContract, *, ready: bool) -> model_service_pb2.Model:
    """Return a model's contract as clients see it."""
    return model_service_pb2.Model(
        model_name=model.model_name,
        model_version=model.model_version,
        onnx_sha256=model.onnx_sha256,
        sequences=[sequence_to_proto(sequence) for sequence in model.tiles.sequences],
        spacing_mm=model.tiles.spacing_mm,
        threshold=model.points[OperatingPointName.BALANCED].threshold,
        min_lesion_volume_mm3=model.points[OperatingPointName.BALANCED].min_lesion_volume_mm3,
        target=model.target,
        training=model.training,
        intended_use=INTENDED_USE,
        ready=ready,
        operating_points=[
            model_service_pb2.ModelOperatingPoint(
                operating_point=operating_point_to_proto(name),
                threshold=point.threshold,
                min_lesion_volume_mm3=point.min_lesion_volume_mm3,
                min_peak_probability=point.min_peak_probability,
            )
            for name, point in model.points.items()
        ],
    )


def _timestamp(unix_ms: int) -> Timestamp:
    return Timestamp(seconds=unix_ms // 1000, nanos=unix_ms % 1000 * 1_000_000)
