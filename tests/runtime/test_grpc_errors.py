"""Errors become statuses with details, and statuses become the same errors again."""

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from brainmets.imaging.errors import (
    BrainmetsError,
    DeadlineExceededError,
    DependencyUnavailableError,
    InternalError,
    MalformedFileError,
    OverloadedError,
)
from brainmets.runtime.grpc_errors import STATUS_CODES, from_status, status_code_of, to_status


def leaf_kinds(kind: type[BrainmetsError] = BrainmetsError) -> list[type[BrainmetsError]]:
    """Return every class of the tree that has none below it."""
    below = kind.__subclasses__()
    return [leaf for child in below for leaf in leaf_kinds(child)] if below else [kind]


def make(kind: type[BrainmetsError], **more: int) -> BrainmetsError:
    """Return an error of a kind."""
    retry = {"retry_after_s": 2.5} if kind is OverloadedError else {}
    return kind("The header is wrong", expected="magic n+1", got="zip", remedy="send NIfTI", **retry, **more)


def details_of(status: status_pb2.Status) -> dict[str, object]:
    """Return a status's details by their name."""
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest)
    found = {}
    for detail in status.details:
        for kind in kinds:
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


@pytest.mark.parametrize("kind", leaf_kinds())
def test_every_error_has_its_own_row(kind: type[BrainmetsError]) -> None:
    """No new error travels under a status that nobody chose for it."""
    assert kind in STATUS_CODES


def test_reasons_are_unique() -> None:
    """The reason alone tells the error's kind."""
    assert len({kind.reason for kind in STATUS_CODES}) == len(STATUS_CODES)


@pytest.mark.parametrize("kind", leaf_kinds())
def test_an_error_survives_the_wire(kind: type[BrainmetsError]) -> None:
    """What the caller raises is what the server raised, field by field."""
    error = make(kind, file_index=3)
    read = from_status(status_pb2.Status.FromString(to_status(error).SerializeToString()))
    assert type(read) is kind
    assert str(read) == str(error)
    assert (read.message, read.expected, read.got) == (error.message, error.expected, error.got)
    assert (read.remedy, read.file_index) == (error.remedy, 3)


def test_a_file_at_fault_is_named() -> None:
    """ErrorInfo and BadRequest both say which file it is."""
    details = details_of(to_status(make(MalformedFileError, file_index=2)))
    assert details["ErrorInfo"].domain == "brainmets"
    assert details["ErrorInfo"].metadata["file_index"] == "2"
    assert details["BadRequest"].field_violations[0].field == "files[2]"


def test_an_overloaded_service_says_when_to_come_back() -> None:
    """RESOURCE_EXHAUSTED carries RetryInfo, and the caller can read it."""
    status = to_status(make(OverloadedError))
    assert details_of(status)["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    read = from_status(status)
    assert isinstance(read, OverloadedError)
    assert read.retry_after_s == 2.5


def test_only_what_passes_is_called_transient() -> None:
    """Clients repeat UNAVAILABLE and RESOURCE_EXHAUSTED; nothing about a study's bytes may be among them."""
    transient = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    repeated = {kind.__name__ for kind, code in STATUS_CODES.items() if code in transient}
    assert repeated == {"OverloadedError", "DependencyUnavailableError", "InferenceFailedError"}


def test_details_fit_into_a_trailer() -> None:
    """Whatever an error quotes, its status stays below the 8 KiB that gRPC lets through."""
    error = MalformedFileError("m" * 9999, expected="e" * 9999, got="g" * 9999, remedy="r" * 9999, file_index=1)
    assert len(to_status(error).SerializeToString()) < 6000


def test_a_new_kind_takes_its_parents_code() -> None:
    """A subclass nobody entered still answers what the class above it does."""

    class NarrowerError(MalformedFileError):
        """For this test."""

        reason = "NARROWER"

    assert status_code_of(make(NarrowerError)) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (code_pb2.UNAVAILABLE, DependencyUnavailableError),
        (code_pb2.CANCELLED, DependencyUnavailableError),
        (code_pb2.RESOURCE_EXHAUSTED, OverloadedError),
        (code_pb2.DEADLINE_EXCEEDED, DeadlineExceededError),
        (code_pb2.UNKNOWN, InternalError),
        (99, InternalError),
    ],
)
def test_a_status_without_details_is_read_by_its_code(code: int, kind: type[BrainmetsError]) -> None:
    """What a proxy or a broken connection answers is still one of our errors."""
    assert type(from_status(status_pb2.Status(code=code, message="Socket closed"))) is kind
