"""Why a job fails: a closed set of reasons, each with the status that a direct call would have answered."""

import grpc
import pytest
from google.rpc import status_pb2

from brainmets.gateway.failures import failure_from_error, status_of_failure
from brainmets.gateway.jobs import Failure, FailureReason
from brainmets.imaging.errors import (
    BrainmetsError,
    DataLossError,
    DeadlineExceededError,
    DependencyUnavailableError,
    DigestMismatchError,
    InferenceFailedError,
    InvalidArgumentError,
    MalformedFileError,
    ModelContractError,
    UnknownModelError,
)
from brainmets.runtime.grpc_errors import from_status


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (MalformedFileError, FailureReason.INVALID_STUDY),
        (InvalidArgumentError, FailureReason.INVALID_STUDY),
        (DigestMismatchError, FailureReason.DATA_LOSS),
        (DataLossError, FailureReason.DATA_LOSS),
        (InferenceFailedError, FailureReason.INFERENCE_UNAVAILABLE),
        (UnknownModelError, FailureReason.INFERENCE_UNAVAILABLE),
        (DeadlineExceededError, FailureReason.DEADLINE_EXCEEDED),
        (DependencyUnavailableError, FailureReason.DEADLINE_EXCEEDED),
        (ModelContractError, FailureReason.INTERNAL),
    ],
)
def test_an_error_has_its_reason(kind: type[BrainmetsError], reason: FailureReason) -> None:
    """Clients decide by it whether to send again."""
    assert failure_from_error(kind("m", expected="e", got="g", remedy="r")).reason is reason


def test_a_failure_keeps_the_errors_details() -> None:
    """What was wrong with which file reads back."""
    error = MalformedFileError("m", expected="e", got="g", remedy="r", file_index=3)
    read = from_status(status_of_failure(failure_from_error(error)))
    assert (type(read), read.file_index, read.expected) == (MalformedFileError, 3, "e")


def test_an_unexpected_error_tells_its_kind_alone() -> None:
    """Its message may quote the input."""
    failure = failure_from_error(ValueError("a patient's name"))
    assert failure.reason is FailureReason.INTERNAL
    status = status_pb2.Status.FromString(failure.status)
    assert "ValueError" in status.message
    assert "patient" not in str(status)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (FailureReason.ATTEMPTS_EXHAUSTED, grpc.StatusCode.ABORTED),
        (FailureReason.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_a_failure_of_the_stores_own_has_a_status_too(reason: FailureReason, code: grpc.StatusCode) -> None:
    """A job that no worker ended says why."""
    assert status_of_failure(Failure(reason)).code == code.value[0]
