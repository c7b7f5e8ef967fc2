"""Owns the records of uploads and jobs: what they say, whatever store keeps them.

All times are Unix milliseconds of the store's own clock; no machine's wall clock takes part.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.wire.stored_file import StoredFile

DEFAULT_TENANT = "default"


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when the job never changes again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Stage(StrEnum):
    """What a running job is doing; NONE when it is not running."""

    NONE = "none"
    PREPARING = "preparing"
    INFERRING = "inferring"
    MEASURING = "measuring"
    WRITING = "writing"


class FailureReason(StrEnum):
    """Why a job failed: the published contract's closed set."""

    INVALID_STUDY = "invalid_study"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DATA_LOSS = "data_loss"
    INFERENCE_UNAVAILABLE = "inference_unavailable"
    INTERNAL = "internal"


class ArtifactKind(StrEnum):
    """Kind of a result file."""

    MASK_NIFTI = "mask_nifti"
    PROBABILITY_NIFTI = "probability_nifti"
    REPORT_JSON = "report_json"
    LESIONS_CSV = "lesions_csv"
    OVERLAY_PNG = "overlay_png"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """State of one file of an upload; `sha256` holds 32 bytes once complete and none before."""

    file_index: int
    media_type: MediaType
    sequence: Sequence | None
    parts: tuple[str, ...]
    received_bytes: int
    sha256: bytes = b""

    @property
    def is_complete(self) -> bool:
        """True once the file was closed."""
        return bool(self.sha256)


@dataclass(frozen=True, slots=True)
class Upload:
    """A study on its way in, or already submitted as `job_id` (empty before).

    `revision` rises with every change; `files` are in order of file_index, and none once the job's input was erased.
    """

    tenant: str
    upload_id: str
    revision: int
    expire_time_ms: int
    files: tuple[UploadedFile, ...] = ()
    job_id: str = ""

    @property
    def prefix(self) -> str:
        """Where in the artefact store everything of this upload lies."""
        return f"uploads/{self.upload_id}/"

    @property
    def received_bytes(self) -> int:
        """Bytes stored so far, all files together."""
        return sum(file.received_bytes for file in self.files)

    @property
    def is_complete(self) -> bool:
        """True when there is at least one file and every file was closed."""
        return bool(self.files) and all(file.is_complete for file in self.files)

    def stored_files(self) -> tuple[StoredFile, ...]:
        """Return the complete files as a job's input."""
        return tuple(
            StoredFile(
                file_index=file.file_index,
                media_type=file.media_type,
                sequence=file.sequence,
                parts=file.parts,
                sha256=file.sha256,
                size_bytes=file.received_bytes,
            )
            for file in self.files
            if file.is_complete
        )


def digest_study(files: tuple[StoredFile, ...]) -> str:
    """Return the SHA-256 (lower-case hexadecimal) that names a study's content.

    It covers each file's digest, size, encoding and stated sequence, because those decide the result; file
    numbers only give the order.
    """
    lines = (
        f"{file.media_type} {file.sequence or '-'} {file.size_bytes} {file.sha256.hex()}\n"
        for file in sorted(files, key=lambda file: file.file_index)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request to accept an upload as a job.

    `request_id` is the client's idempotency key; `options` is a serialised SegmentationOptions, deterministic
    for equal options; `deadline_s` counts from acceptance to a final state. `traceparent` names the span that
    submits it; empty where nothing is traced.
    """

    upload: Upload
    request_id: str
    options: bytes
    deadline_s: float
    traceparent: str = ""

    @property
    def input_sha256(self) -> str:
        """SHA-256 of the study's content, lower-case hexadecimal."""
        return digest_study(self.upload.stored_files())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of content, file numbers and options: what a repeated request_id must agree with.

        A result names the client's own numbers of its files, which the content's digest leaves out.
        """
        numbers = " ".join(map(str, sorted(file.file_index for file in self.upload.files)))
        return hashlib.sha256(f"{self.input_sha256}\n{numbers}\n".encode() + self.options).hexdigest()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is; counts are over all networks, `tiles_total` is 0 until known."""

    stage: Stage = Stage.NONE
    tiles_done: int = 0
    tiles_total: int = 0


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A result file and its path in the artefact store; `sha256` holds 32 bytes."""

    kind: ArtifactKind
    file_name: str
    path: str
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed; `status` is a serialised google.rpc.Status, empty when the store itself ended it."""

    reason: FailureReason
    status: bytes = b""


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted study, as it stood at `revision`, which rises with every change.

    `options` and `result` are serialised SegmentationOptions and SegmentationResult, `result` empty unless
    SUCCEEDED. A listing leaves `result` and `files` empty, and `files` are none once they were erased. `attempt` counts
    the attempts begun and not given back.
    """

    tenant: str
    job_id: str
    upload_id: str
    revision: int
    state: JobState
    progress: Progress
    attempt: int
    create_time_ms: int
    update_time_ms: int
    expire_time_ms: int
    options: bytes
    input_sha256: str
    files: tuple[StoredFile, ...]
    result: bytes = b""
    artifacts: tuple[StoredArtifact, ...] = ()
    failure: Failure | None = None
    from_cache: bool = False
    traceparent: str = ""

    @property
    def prefix(self) -> str:
        """Where in the artefact store every attempt's artefacts of this job lie."""
        return f"jobs/{self.job_id}/"


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's lease on a job.

    `fence` is the fencing token: no two claims ever have the same one, so that an attempt which lost its lease can
    change nothing. `remaining_s` is the time to the job's deadline when it was claimed.
    """

    job: Job
    worker: str
    entry_id: str
    fence: str
    remaining_s: float

    @property
    def prefix(self) -> str:
        """Where in the artefact store this attempt writes; no other attempt ever does."""
        return f"{self.job.prefix}{self.fence}/"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a successful attempt leaves: a serialised SegmentationResult, its artefacts, and its cache key.

    `cache_key` is lower-case hexadecimal; empty keeps the result out of the cache, and a result that came from there
    leaves the entry to the job that computed it.
    """

    result: bytes
    artifacts: tuple[StoredArtifact, ...]
    cache_key: str = ""
    from_cache: bool = False


@dataclass(frozen=True, slots=True)
class Erasure:
    """A prefix of the artefact store to be erased, not before `due_time_ms` for the last time."""

    prefix: str
    due_time_ms: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How much work there is.

    A job that nobody holds is queued, also one that was given back or whose worker is gone. `oldest_age_s` is the age
    of the oldest of them, 0 without one; `overdue` counts jobs past their deadline that have not ended, which the next
    sweep ends. `erasure_overdue_s` is how long the erasure that waits longest has been due, 0 without one, and
    `uploads_open` counts uploads that are no jobs yet.
    """

    queued: int
    running: int
    oldest_age_s: float
    overdue: int = 0
    erasure_overdue_s: float = 0.0
    uploads_open: int = 0
