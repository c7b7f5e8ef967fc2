"""Owns what the stores say when they refuse: the words their scripts answer, as errors."""

import re
from collections.abc import Callable

from brainmets.imaging.errors import (
    BrainmetsError,
    InvalidArgumentError,
    InvalidJobStateError,
    JobCancelledError,
    OverloadedError,
    RequestIdReusedError,
    StaleLeaseError,
    StudyTooLargeError,
    UnknownJobError,
    UnknownUploadError,
    UploadIncompleteError,
    UploadOffsetError,
)

# When to come back to a full service: about as long as a study takes.
RETRY_AFTER_S = 5.0
_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


def check_identifier(identifier: str, unknown: Callable[[], BrainmetsError]) -> None:
    """Raise what `unknown` returns unless the identifier can be ours; nothing else gets into a key."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise unknown()


def check_hold(hold: bytes) -> None:
    """Return when a script found a claim still held.

    Raises:
        JobCancelledError: The client has cancelled or erased the job.
        StaleLeaseError: The job has gone to another worker or has ended.
    """
    if hold == b"cancelled":
        raise JobCancelledError(
            "The job was cancelled",
            expected="a running job",
            got="a cancelled one",
            remedy="stop working on it",
        )
    if hold != b"held":
        raise stale_lease()


def stale_lease() -> StaleLeaseError:
    """Return the error about a claim that no longer counts."""
    return StaleLeaseError(
        "The lease on the job was lost",
        expected="the newest fencing token",
        got="an older one",
        remedy="stop working on it: another worker has it, or it has ended",
    )


def submission_refused(word: bytes, *, max_queued_jobs: int) -> BrainmetsError:
    """Return the error for a refusing word of `submit_job.lua`."""
    match word:
        case b"reused":
            return RequestIdReusedError(
                "The request_id was used before",
                expected="the same bytes, file numbers and options as before",
                got="another of these",
                remedy="choose a new request_id",
            )
        case b"changed":
            return upload_incomplete("an upload that changed while it was submitted")
        case b"overloaded":
            return OverloadedError(
                "The queue is full",
                expected=f"fewer than {max_queued_jobs} waiting jobs",
                got="a full queue",
                remedy="retry later",
                retry_after_s=RETRY_AFTER_S,
            )
        case _:
            return upload_refused(word)


def upload_refused(word: bytes) -> BrainmetsError:
    """Return the error for an upload that is not open: 'submitted', or unknown."""
    if word != b"submitted":
        return unknown_upload()
    return InvalidJobStateError(
        "The upload was already submitted",
        expected="an upload that was not submitted, or the request_id it was submitted with",
        got="a submitted upload",
        remedy="create a new upload",
    )


def file_refused(word: bytes, *, received_bytes: int, file_index: int) -> BrainmetsError:
    """Return the error for a refusing word of the scripts that change a file of an upload."""
    if word == b"unopened":
        return InvalidArgumentError(
            "The file was not opened",
            expected="a file header before bytes and end",
            got="no header",
            remedy="send the file's header first",
            file_index=file_index,
        )
    if word != b"offset":
        return upload_refused(word)
    return UploadOffsetError(
        "The bytes do not begin where the file ends",
        expected=f"offset_bytes {received_bytes}",
        got="another offset",
        remedy="ask GetUpload and go on at received_bytes",
        file_index=file_index,
    )


def study_too_large(size_bytes: int, *, most_bytes: int, file_index: int) -> StudyTooLargeError:
    """Return the error about an upload that would hold more than a study may."""
    return StudyTooLargeError(
        "The study is too large",
        expected=f"at most {most_bytes} bytes in all files together",
        got=f"{size_bytes} bytes",
        remedy="send only the sequences T1C, T1N, T2W and T2F",
        file_index=file_index,
    )


def too_many_uploads(open_uploads: int, *, most: int) -> OverloadedError:
    """Return the error about a tenant that opens uploads without end."""
    return OverloadedError(
        "Too many uploads are open",
        expected=f"fewer than {most} open uploads",
        got=str(open_uploads),
        remedy="retry later",
        retry_after_s=RETRY_AFTER_S,
    )


def unknown_upload() -> UnknownUploadError:
    """Return the error about an upload that is not there."""
    return UnknownUploadError(
        "The upload is not known",
        expected="an upload_id from CreateUpload that has not expired",
        got="another upload_id",
        remedy="create a new upload",
    )


def upload_incomplete(got: str) -> UploadIncompleteError:
    """Return the error about an upload that cannot be submitted yet."""
    return UploadIncompleteError(
        "The upload is not complete",
        expected="at least one file, each closed with its SHA-256",
        got=got,
        remedy="ask GetUpload, send what is missing, and submit again",
    )


def unknown_job() -> UnknownJobError:
    """Return the error about a job that is not there."""
    return UnknownJobError(
        "The job is not known",
        expected="a job_id from SubmitStudy that was not erased",
        got="another job_id",
        remedy="list the jobs, or submit the study again",
    )


def invalid_argument(field: str, *, expected: str, got: str) -> InvalidArgumentError:
    """Return the error about one field of a request."""
    return InvalidArgumentError(f"{field} is not valid", expected=expected, got=got, remedy="correct it and call again")
