"""Owns how errors travel over gRPC: one table to status codes, and google.rpc details that read back."""

import math
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from brainmets.imaging.errors import (
    ArtifactOffsetError,
    AttemptsExhaustedError,
    BrainmetsError,
    DataLossError,
    DeadlineExceededError,
    DecodingLimitError,
    DependencyUnavailableError,
    DigestMismatchError,
    EmptyVolumeError,
    InferenceFailedError,
    InternalError,
    InvalidArgumentError,
    InvalidIntensityError,
    InvalidJobStateError,
    InvalidSpacingError,
    JobCancelledError,
    MalformedFileError,
    MissingT1cError,
    MixedStudiesError,
    ModelContractError,
    OverloadedError,
    PreContrastError,
    QualityRefusedError,
    RequestIdReusedError,
    SequencesDoNotOverlapError,
    SingularAffineError,
    StaleLeaseError,
    StudyTooLargeError,
    TooFewSlicesError,
    UnknownArtifactError,
    UnknownJobError,
    UnknownModelError,
    UnknownUploadError,
    UnsupportedDimensionsError,
    UnsupportedFormatError,
    UnusableSeriesError,
    UploadIncompleteError,
    UploadOffsetError,
)

DOMAIN = "brainmets"
# The metadata key of a serialised google.rpc.Status, as every gRPC library reads it.
STATUS_DETAILS_KEY = "grpc-status-details-bin"
# gRPC refuses trailers beyond 8 KiB, and a call whose error is refused looks like a broken connection.
MAX_DETAIL_CHARACTERS = 400
# When a server is full and does not say for how long.
DEFAULT_RETRY_DELAY_S = 1.0

STATUS_CODES: Final[dict[type[BrainmetsError], grpc.StatusCode]] = {
    # The study: sending the same bytes again does not help.
    MalformedFileError: grpc.StatusCode.INVALID_ARGUMENT,
    UnsupportedFormatError: grpc.StatusCode.INVALID_ARGUMENT,
    UnsupportedDimensionsError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidSpacingError: grpc.StatusCode.INVALID_ARGUMENT,
    SingularAffineError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidIntensityError: grpc.StatusCode.INVALID_ARGUMENT,
    EmptyVolumeError: grpc.StatusCode.INVALID_ARGUMENT,
    TooFewSlicesError: grpc.StatusCode.INVALID_ARGUMENT,
    # Not RESOURCE_EXHAUSTED, which clients take for "come back later".
    StudyTooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    DecodingLimitError: grpc.StatusCode.INVALID_ARGUMENT,
    UnusableSeriesError: grpc.StatusCode.INVALID_ARGUMENT,
    MixedStudiesError: grpc.StatusCode.FAILED_PRECONDITION,
    PreContrastError: grpc.StatusCode.FAILED_PRECONDITION,
    QualityRefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    MissingT1cError: grpc.StatusCode.FAILED_PRECONDITION,
    SequencesDoNotOverlapError: grpc.StatusCode.FAILED_PRECONDITION,
    DigestMismatchError: grpc.StatusCode.DATA_LOSS,
    # The request.
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownJobError: grpc.StatusCode.NOT_FOUND,
    UnknownUploadError: grpc.StatusCode.NOT_FOUND,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    UnknownArtifactError: grpc.StatusCode.NOT_FOUND,
    RequestIdReusedError: grpc.StatusCode.ALREADY_EXISTS,
    UploadIncompleteError: grpc.StatusCode.FAILED_PRECONDITION,
    UploadOffsetError: grpc.StatusCode.OUT_OF_RANGE,
    ArtifactOffsetError: grpc.StatusCode.OUT_OF_RANGE,
    InvalidJobStateError: grpc.StatusCode.FAILED_PRECONDITION,
    # The service.
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DependencyUnavailableError: grpc.StatusCode.UNAVAILABLE,
    InferenceFailedError: grpc.StatusCode.UNAVAILABLE,
    ModelContractError: grpc.StatusCode.INTERNAL,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    StaleLeaseError: grpc.StatusCode.ABORTED,
    AttemptsExhaustedError: grpc.StatusCode.ABORTED,
    DataLossError: grpc.StatusCode.DATA_LOSS,
    JobCancelledError: grpc.StatusCode.CANCELLED,
    InternalError: grpc.StatusCode.INTERNAL,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_KINDS = {kind.reason: kind for kind in STATUS_CODES}
# What a status without our details is taken for: a proxy, a full server or a broken connection wrote it.
# A server that stops cancels what it cannot finish, and the next one takes the call.
_KINDS_WITHOUT_DETAILS: dict[grpc.StatusCode, type[BrainmetsError]] = {
    grpc.StatusCode.UNAVAILABLE: DependencyUnavailableError,
    grpc.StatusCode.CANCELLED: DependencyUnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}


def status_code_of(error: BrainmetsError) -> grpc.StatusCode:
    """Return the status code of an error's class, or of the nearest class above it."""
    known = (STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES)
    return next(known, grpc.StatusCode.INTERNAL)


def to_status(error: BrainmetsError) -> status_pb2.Status:
    """Write an error as a google.rpc.Status.

    ErrorInfo is always there (domain "brainmets"; metadata expected, got, remedy, summary and, where a file
    is at fault, file_index), RetryInfo when the service is overloaded, BadRequest when a file is at fault.
    """
    texts = {"summary": error.message, "expected": error.expected, "got": error.got, "remedy": error.remedy}
    metadata = {name: _shortened(text) for name, text in texts.items()}
    if error.file_index is not None:
        metadata["file_index"] = str(error.file_index)
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    if isinstance(error, OverloadedError):
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s))))
    if error.file_index is not None:
        details.append(_packed(_bad_request(error.file_index, error)))
    return status_pb2.Status(
        code=status_code_of(error).value[0], message=_shortened(str(error), times=3), details=details
    )


def _shortened(text: str, *, times: int = 1) -> str:
    most = times * MAX_DETAIL_CHARACTERS
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _packed(detail: error_details_pb2.ErrorInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(math.ceil(1000 * seconds))
    return duration


def _bad_request(file_index: int, error: BrainmetsError) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=f"files[{file_index}]",
        description=_shortened(f"{error.message}: expected {error.expected}, got {error.got}"),
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


def from_status(status: status_pb2.Status) -> BrainmetsError:
    """Read a google.rpc.Status back into the error it was written from.

    A status without our details, or of a newer version's kind, becomes the error nearest to its code.
    """
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    detail = _find_error_info(status)
    kind = _KINDS.get(detail.reason, _KINDS_WITHOUT_DETAILS.get(code, InternalError))
    texts = detail.metadata
    index = texts.get("file_index", "")
    fields: dict[str, Any] = {  # Any: fields of several types, as the constructors take them
        "expected": texts.get("expected", "an answer"),
        "got": texts.get("got", code.name),
        "remedy": texts.get("remedy", "retry; if it lasts, tell the operator"),
        "file_index": int(index) if index.isdecimal() else None,
    }
    if kind is OverloadedError:
        fields["retry_after_s"] = _find_retry_delay_s(status)
    return kind(texts.get("summary") or status.message or "The call failed", **fields)


def _find_error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return error_details_pb2.ErrorInfo()


def _find_retry_delay_s(status: status_pb2.Status) -> float:
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToMilliseconds()) / 1000
    return DEFAULT_RETRY_DELAY_S


def status_from_rpc_error(error: grpc.RpcError) -> status_pb2.Status:
    """Return the status a failed call ended with, with its details when it carries them."""
    trailers: Any = error.trailing_metadata()  # Any: its annotation takes a pair for a thing of its own
    for key, value in trailers or ():
        if key == STATUS_DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")
