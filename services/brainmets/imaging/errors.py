"""Owns the tree of errors that this project raises on purpose.

BrainmetsError
├── StudyError                     the study cannot be read or used; the same bytes fail again
│   ├── MalformedFileError         not the format it claims to be, or cut off
│   ├── UnsupportedFormatError     a format, encoding or voxel type that is not read
│   ├── UnsupportedDimensionsError not three-dimensional with one value a voxel
│   ├── InvalidSpacingError        zero, not a number, or not a head's
│   ├── SingularAffineError        voxels that cannot be placed in the patient
│   ├── InvalidIntensityError      voxels, or their scaling, that are not finite
│   ├── EmptyVolumeError           nothing but one value
│   ├── TooFewSlicesError          no volume
│   ├── StudyTooLargeError         more than the service takes
│   ├── DecodingLimitError         more time or memory to decode than any real file needs
│   ├── MixedStudiesError          more than one patient or examination
│   ├── UnusableSeriesError        slices that do not make a volume
│   ├── MissingT1cError            the one sequence that every study needs
│   ├── PreContrastError           a T1c that says of itself that it is none
│   ├── QualityRefusedError        a severe finding, and nobody insists
│   ├── SequencesDoNotOverlapError sequences of different places
│   └── DigestMismatchError        bytes that are not those that were announced
├── RequestError                   the request is wrong; the caller can mend it
│   ├── InvalidArgumentError       a field out of range or out of order
│   ├── UnknownJobError, UnknownUploadError, UnknownModelError, UnknownArtifactError
│   ├── RequestIdReusedError       the idempotency key belongs to another request
│   ├── UploadIncompleteError      submitted before it was all there
│   ├── UploadOffsetError          a chunk that does not go on where the last one ended
│   ├── ArtifactOffsetError        a part of an artefact that begins beyond its end
│   └── InvalidJobStateError       too late, or too early
└── ServiceError                   the service's own fault, or its load
    ├── OverloadedError            over capacity; come back after retry_after_s
    ├── DependencyUnavailableError Redis, Triton, preprocessing or the store does not answer now
    ├── InferenceFailedError       no probability could be had
    ├── ModelContractError         a model that this version cannot serve
    ├── DeadlineExceededError      the job's time is up
    ├── StaleLeaseError            another worker holds the job
    ├── JobCancelledError          the client does not want it any more
    ├── AttemptsExhaustedError     every allowed attempt ended without a result
    ├── DataLossError              stored bytes are missing or changed
    └── InternalError              a defect

Every error says what was expected, what came and what to do. None of them ever quotes a patient's data, which is why
they carry what was measured of the input and not the input.
"""

from typing import ClassVar


class BrainmetsError(Exception):
    """Base of every error that is raised on purpose.

    Attributes:
        reason: Stable upper-case word that names the kind.
        message: What is wrong, in a few words.
        expected: What would have been right.
        got: What came instead.
        remedy: What to do about it.
        file_index: The client's number of the file at fault, if one is.
    """

    reason: ClassVar[str]

    def __init__(self, message: str, *, expected: str, got: str, remedy: str, file_index: int | None = None) -> None:
        self.message = message
        self.expected = expected
        self.got = got
        self.remedy = remedy
        self.file_index = file_index
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        where = "" if self.file_index is None else f" (file {self.file_index})"
        return f"{self.message}{where}: expected {self.expected}, got {self.got}; {self.remedy}"


class StudyError(BrainmetsError):
    """The study cannot be read or used; sending the same bytes again does not help."""


class MalformedFileError(StudyError):
    """A file is not of the format it claims to be, or is cut off."""

    reason = "MALFORMED_FILE"


class UnsupportedFormatError(StudyError):
    """A file's format, encoding or voxel type is not read."""

    reason = "UNSUPPORTED_FORMAT"


class UnsupportedDimensionsError(StudyError):
    """A file is not three-dimensional with one value a voxel."""

    reason = "UNSUPPORTED_DIMENSIONS"


class InvalidSpacingError(StudyError):
    """A voxel spacing is zero, not a number, or none that a head is scanned with."""

    reason = "INVALID_SPACING"


class SingularAffineError(StudyError):
    """A grid's affine does not place its voxels in the patient."""

    reason = "SINGULAR_AFFINE"


class InvalidIntensityError(StudyError):
    """Voxels or their scaling are not finite."""

    reason = "INVALID_INTENSITY"


class EmptyVolumeError(StudyError):
    """A volume shows nothing."""

    reason = "EMPTY_VOLUME"


class TooFewSlicesError(StudyError):
    """A file has too few slices to be a volume."""

    reason = "TOO_FEW_SLICES"


class StudyTooLargeError(StudyError):
    """A study is larger than the service takes."""

    reason = "STUDY_TOO_LARGE"


class DecodingLimitError(StudyError):
    """A file takes more time or memory to decode than any real one needs."""

    reason = "DECODING_LIMIT"


class MixedStudiesError(StudyError):
    """The files belong to more than one patient or examination."""

    reason = "MIXED_STUDIES"


class UnusableSeriesError(StudyError):
    """A series' slices do not make a volume: missing, duplicated, uneven or of several orientations."""

    reason = "UNUSABLE_SERIES"


class MissingT1cError(StudyError):
    """A study has no T1-weighted series after contrast medium."""

    reason = "MISSING_T1C"


class PreContrastError(StudyError):
    """The series that is to be the T1c says that it was acquired without contrast medium."""

    reason = "PRE_CONTRAST"


class QualityRefusedError(StudyError):
    """A severe finding speaks against the study, and the request does not insist."""

    reason = "QUALITY_REFUSED"


class SequencesDoNotOverlapError(StudyError):
    """A study's sequences show different places."""

    reason = "SEQUENCES_DO_NOT_OVERLAP"


class DigestMismatchError(StudyError):
    """A file's bytes do not have the SHA-256 that was announced."""

    reason = "DIGEST_MISMATCH"


class RequestError(BrainmetsError):
    """The request is wrong, and the caller can mend it."""


class InvalidArgumentError(RequestError):
    """A field is out of range, or a message out of order."""

    reason = "INVALID_ARGUMENT"


class UnknownJobError(RequestError):
    """There is no such job, or not any more."""

    reason = "UNKNOWN_JOB"


class UnknownUploadError(RequestError):
    """There is no such upload, or not any more."""

    reason = "UNKNOWN_UPLOAD"


class UnknownModelError(RequestError):
    """There is no such model."""

    reason = "UNKNOWN_MODEL"


class UnknownArtifactError(RequestError):
    """The job has no such artefact."""

    reason = "UNKNOWN_ARTIFACT"


class RequestIdReusedError(RequestError):
    """The idempotency key was used for another request."""

    reason = "REQUEST_ID_REUSED"


class UploadIncompleteError(RequestError):
    """An upload was submitted before it was all there."""

    reason = "UPLOAD_INCOMPLETE"


class UploadOffsetError(RequestError):
    """A file does not go on where it ended."""

    reason = "UPLOAD_OFFSET"


class ArtifactOffsetError(RequestError):
    """A part of an artefact is asked for that begins beyond its end."""

    reason = "ARTIFACT_OFFSET"


class InvalidJobStateError(RequestError):
    """The job is not in a state in which this can be done."""

    reason = "INVALID_JOB_STATE"


class ServiceError(BrainmetsError):
    """The service's own fault, or its load."""


class OverloadedError(ServiceError):
    """The service is over capacity.

    Attributes:
        retry_after_s: When to come back, seconds from now.
    """

    reason = "OVERLOADED"

    def __init__(
        self,
        message: str,
        *,
        expected: str,
        got: str,
        remedy: str,
        retry_after_s: float,
        file_index: int | None = None,
    ) -> None:
        super().__init__(message, expected=expected, got=got, remedy=remedy, file_index=file_index)
        self.retry_after_s = retry_after_s


class DependencyUnavailableError(ServiceError):
    """Something the service stands on does not answer now; the call may be repeated."""

    reason = "DEPENDENCY_UNAVAILABLE"


class InferenceFailedError(ServiceError):
    """No probability could be had from a network."""

    reason = "INFERENCE_FAILED"


class ModelContractError(ServiceError):
    """A model cannot be served by this version."""

    reason = "MODEL_CONTRACT"


class DeadlineExceededError(ServiceError):
    """The time that was given is up."""

    reason = "DEADLINE_EXCEEDED"


class StaleLeaseError(ServiceError):
    """Another worker holds the job, or nobody does."""

    reason = "STALE_LEASE"


class JobCancelledError(ServiceError):
    """The job was cancelled or erased."""

    reason = "JOB_CANCELLED"


class AttemptsExhaustedError(ServiceError):
    """Every allowed attempt at a job ended without a result."""

    reason = "ATTEMPTS_EXHAUSTED"


class DataLossError(ServiceError):
    """Stored bytes are missing or changed."""

    reason = "DATA_LOSS"


class InternalError(ServiceError):
    """A defect of this software."""

    reason = "INTERNAL"
