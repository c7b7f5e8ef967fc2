"""Owns why a job fails: errors as the published contract's reasons, each with the status a direct call answers."""

from google.rpc import status_pb2

from brainmets.gateway.jobs import Failure, FailureReason
from brainmets.imaging.errors import (
    AttemptsExhaustedError,
    BrainmetsError,
    DataLossError,
    DeadlineExceededError,
    DependencyUnavailableError,
    DigestMismatchError,
    InferenceFailedError,
    InternalError,
    OverloadedError,
    RequestError,
    StudyError,
    UnknownModelError,
)
from brainmets.runtime.grpc_errors import to_status

# First match counts: a digest that disagrees is a StudyError too, but stored bytes that changed are no client's fault.
_REASONS: tuple[tuple[type[BrainmetsError], FailureReason], ...] = (
    (DigestMismatchError, FailureReason.DATA_LOSS),
    (DataLossError, FailureReason.DATA_LOSS),
    (StudyError, FailureReason.INVALID_STUDY),
    # What a client may ask for was checked when it submitted: this is about what Triton has.
    (UnknownModelError, FailureReason.INFERENCE_UNAVAILABLE),
    # Preprocessing refuses what a client may have said about its files, such as two of them being the T1C.
    (RequestError, FailureReason.INVALID_STUDY),
    (InferenceFailedError, FailureReason.INFERENCE_UNAVAILABLE),
    (DeadlineExceededError, FailureReason.DEADLINE_EXCEEDED),
    # Calls are repeated while these last, so only the job's deadline lets them come this far.
    (DependencyUnavailableError, FailureReason.DEADLINE_EXCEEDED),
    (OverloadedError, FailureReason.DEADLINE_EXCEEDED),
)


def failure_from_error(error: Exception) -> Failure:
    """Return why a job fails whose attempt ended with `error`; what is unexpected tells its kind and no more."""
    if isinstance(error, BrainmetsError):
        for kind, reason in _REASONS:
            if isinstance(error, kind):
                return Failure(reason, to_status(error).SerializeToString())
        return Failure(FailureReason.INTERNAL, to_status(error).SerializeToString())
    opaque = InternalError(
        "The study could not be segmented",
        expected="a result",
        # A message may quote the input; a type cannot.
        got=type(error).__name__,
        remedy="tell the operator the job_id",
    )
    return Failure(FailureReason.INTERNAL, to_status(opaque).SerializeToString())


def status_of_failure(failure: Failure) -> status_pb2.Status:
    """Return a failure's status, also of one that the job store recorded by itself."""
    if failure.status:
        return status_pb2.Status.FromString(failure.status)
    if failure.reason is FailureReason.ATTEMPTS_EXHAUSTED:
        return to_status(
            AttemptsExhaustedError(
                "Every attempt at the study ended without a result",
                expected="a result",
                got="workers that were lost",
                remedy="submit the study again, and tell the operator the job_id",
            )
        )
    return to_status(
        DeadlineExceededError(
            "The job's deadline passed",
            expected="a result before the deadline",
            got="none",
            remedy="submit the study again with a later deadline, or when there is less load",
        )
    )
