"""Owns how a process calls another of ours over gRPC: the channel's bounds, and statuses as errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import grpc.aio

from brainmets.runtime.grpc_errors import from_status, status_from_rpc_error
from brainmets.runtime.grpc_server import INTERNAL_LIMITS, ServerLimits

# A peer that is gone, or stopped, is noticed within both together, whatever the deadline is.
# The interval is the shortest that our servers allow.
KEEPALIVE_INTERVAL_MS = 5_000
PING_TIMEOUT_MS = 5_000
# The default lets a client that came before its server wait for two minutes.
MAX_RECONNECT_BACKOFF_MS = 2_000
# gRPC stays with the first address of a name unless told otherwise; a headless Service has one for each pod.
IN_TURN = ("grpc.lb_policy_name", "round_robin")


def open_channel(target: str, limits: ServerLimits = INTERNAL_LIMITS) -> grpc.aio.Channel:
    """Return a channel to a gRPC target; one serves a whole process.

    Calls go to all addresses of the target in turn. It repeats none by itself: callers do, within their own deadline.
    """
    return grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", limits.max_message_bytes),
            ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_MS),
            ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
            ("grpc.enable_retries", 0),
            IN_TURN,
        ],
    )


@contextmanager
def rpc_errors() -> Iterator[None]:
    """Turn a failed call's status into the error it was written from.

    Raises:
        BrainmetsError: The server's own error; DependencyUnavailableError, OverloadedError or
            DeadlineExceededError when it did not come to answer.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise from_status(status_from_rpc_error(error)) from error
