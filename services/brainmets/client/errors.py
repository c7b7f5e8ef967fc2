"""Errors a caller of the client meets.

ClientError
├── StudyPathError    the path holds nothing that can be sent; nothing was sent
├── ResultsUnsavedError results could not be written, as its OSError says; their job keeps them
├── EarlierResultsError results of an earlier run are not those that are asked for, or cannot be read; they stay
├── TlsFileError      a certificate or key is not what it should be; nothing was called
├── MissingExtraError a command needs packages that are not installed
├── MissingLibraryError images are asked for in a library that is not installed
└── ServiceError      the service answered an error, or could not be reached
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from pathlib import Path

UNREACHED_REASON = "SERVICE_UNREACHED"
TLS_REASON = "TLS_FAILED"
_STATUS_METADATA_KEY = "grpc-status-details-bin"
# gRPC tells why a connection was not made in words alone; ours follow: what is there, and what to do.
_TLS_FAULTS = {
    "certificate has expired": ("one that has expired", "have the service's certificate renewed"),
    "not yet valid": ("one of a later time", "see this machine's clock and the service's certificate"),
    "Hostname Verification": ("one of another name", "call the service by a name of its certificate"),
    "CERTIFICATE_VERIFY_FAILED": (
        "one that none of the known authorities has signed",
        "name the authority's file with --ca-file (Tls.ca_file), and make sure that this is the service you mean",
    ),
    "WRONG_VERSION_NUMBER": (
        "an answer without TLS",
        "leave --tls out, or name the address where the service speaks it",
    ),
}
# A server of TLS ends a connection that does not begin with it; one that asks for a certificate, one without. What of
# its end is seen first is chance.
_CLOSED = ("Socket closed", "Connection reset by peer")
# What gRPC says, as INTERNAL, of some calls whose line broke while they were sent.
_BROKEN_OFF = "Internal error from Core"
# What gRPC says, as DEADLINE_EXCEEDED, of a call that was not answered before its deadline.
DEADLINE_WORDS = "Deadline Exceeded"
# What is there instead of our service: in gRPC's words, and in plain ones.
_UNREACHED = {
    "Connection refused": "nothing that listens there",
    "Domain name not found": "no machine of that name",
    "Failed parsing HTTP/2": "a program that speaks no gRPC",
    DEADLINE_WORDS: "no answer in time",
    "timed out before receiving SETTINGS": "no answer in time",
    **dict.fromkeys(_CLOSED, "a connection that was closed at once"),
    _BROKEN_OFF: "a connection that broke",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ClientError(Exception):
    """Base of every error this client raises on purpose."""


class StudyPathError(ClientError):
    """The path holds nothing that can be sent."""


class ResultsUnsavedError(ClientError, OSError):
    """Results could not be written; `Client.wait(job_id)` has them again once that is mended.

    Attributes:
        filename: The folder they were to be written into.
        job_id: The job whose results they are.
    """

    def __init__(self, error: OSError, folder: Path, *, job_id: str) -> None:
        super().__init__(error.errno, error.strerror, str(folder))
        self.job_id = job_id


class EarlierResultsError(ClientError):
    """A folder for results holds others already, or something else.

    Attributes:
        reason: RESULTS_UNREADABLE or OTHER_OPTIONS.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class TlsFileError(ClientError):
    """A file of certificates or a key cannot be used."""


class MissingExtraError(ClientError):
    """A command needs packages that come with an extra of the same name."""

    def __init__(self, extra: str, *, missing: str) -> None:
        super().__init__(
            f"expected the packages that `brainmets {extra}` needs, got none named {missing}; "
            f"install them with: pip install 'PATH_OF_BRAINMETS[{extra}]'"
        )


class MissingLibraryError(ClientError):
    """An image is to be written or read by a library that is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"expected {name} for this kind of image, got none; install it with: pip install {name}")


class ServiceError(ClientError):
    """The service answered an error, or could not be reached.

    Attributes:
        code: gRPC status code.
        reason: Stable upper-case word from google.rpc.ErrorInfo.
        metadata: Details such as file_index, expected, got and remedy.
        message: One sentence for a person.
        retry_after_s: When a service that is full wants to be called again, seconds; None: it does not say.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: dict[str, str],
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        if self.reason == UNREACHED_REASON:
            # What answers UNIMPLEMENTED is there, and another service.
            return self.code is not grpc.StatusCode.UNIMPLEMENTED
        return self.reason != TLS_REASON and self.code in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }


def error_from_status(status: status_pb2.Status) -> ServiceError:
    """Read a google.rpc.Status into an error."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for kind in (info, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    return ServiceError(
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        reason=info.reason or _CODES.get(status.code, grpc.StatusCode.UNKNOWN).name,
        message=status.message,
        metadata=dict(info.metadata),
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None,
    )


def error_from_rpc(error: grpc.RpcError, *, address: str) -> ServiceError:
    """Read a failed RPC into an error, with the google.rpc details when it carries them."""
    code = error.code()
    details = error.details() or ""
    trailers: Any = error.trailing_metadata()  # Any: its annotation takes a pair for a thing of its own
    for key, value in trailers or ():
        if key == _STATUS_METADATA_KEY:
            try:
                return error_from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ServiceError(
            code=code,
            reason=UNREACHED_REASON,
            message=f"{address} does not know this call: expected a brainmets gateway of this version, got another "
            "gRPC service or an older gateway; see --address (the gateway's port is none of Triton's)",
            metadata={},
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _unreached(DEADLINE_WORDS, address, code=code)
    if code is grpc.StatusCode.UNAVAILABLE or details == _BROKEN_OFF:
        return _unreached(details, address)
    return ServiceError(code=code, reason=code.name, message=details or code.name, metadata={})


def line_broken(error: ServiceError) -> ServiceError:
    """Return what to tell of a service out of reach that had been there before; another error is left as it is."""
    if error.reason != UNREACHED_REASON or "got" not in error.metadata:
        return error
    return ServiceError(
        code=error.code,
        reason=error.reason,
        message=f"The line to {error.metadata['address']} broke and was not mended: expected the service to answer "
        f"again, got {error.metadata['got']}; see the network, and whether the service still runs.",
        metadata=error.metadata,
    )


def _unreached(details: str, address: str, *, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> ServiceError:
    for words, (got, remedy) in _TLS_FAULTS.items():
        if words in details:
            message = f"{address} cannot be trusted: expected a valid certificate of the service, got {got}; {remedy}."
            return ServiceError(code=code, reason=TLS_REASON, message=message, metadata={})
    hint = ""
    if any(words in details for words in _CLOSED):
        hint = " If it speaks TLS, say --tls, and --cert and --key where it asks for a certificate."
    got = next((plain for words, plain in _UNREACHED.items() if words in details), f"“{details}”")
    return ServiceError(
        code=code,
        reason=UNREACHED_REASON,
        message=f"No brainmets service answers at {address}: expected a running gateway, got {got}; "
        f"start one with `make up` or name another with --address host:port.{hint}",
        metadata={"address": address, "got": got},
    )
