"""What a user is told of a service that is not there, that hangs, or that was there before."""

import grpc
import grpc.aio
import pytest

from brainmets.client.errors import ServiceError, error_from_rpc, line_broken


def read(code: grpc.StatusCode, details: str) -> ServiceError:
    """Return the error of a call that ended so."""
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)
    return error_from_rpc(error, address="127.0.0.1:8500")


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (
            grpc.StatusCode.UNAVAILABLE,
            "last error: UNKNOWN: connection attempt timed out before receiving SETTINGS frame",
        ),
    ],
)
def test_a_service_that_hangs_was_not_reached_in_time(code: grpc.StatusCode, details: str) -> None:
    """In plain words; the code stays what it was, and the same request may succeed later."""
    error = read(code, details)
    assert (error.code, error.reason) == (code, "SERVICE_UNREACHED")
    assert "No brainmets service answers at 127.0.0.1:8500: expected a running gateway, got no answer in time" in str(
        error
    )
    assert error.is_transient


def test_a_service_that_had_been_there_need_not_be_started() -> None:
    """The line to it broke; what it said itself stays as it is."""
    broken = line_broken(read(grpc.StatusCode.UNAVAILABLE, "Connection refused"))
    assert str(broken).startswith("The line to 127.0.0.1:8500 broke")
    assert "make up" not in str(broken)
    assert broken.is_transient
    refused = read(grpc.StatusCode.NOT_FOUND, "unknown job")
    assert line_broken(refused) is refused


def test_another_service_is_not_waited_for() -> None:
    """It does not know the call, however often it is made."""
    assert not read(grpc.StatusCode.UNIMPLEMENTED, "").is_transient
