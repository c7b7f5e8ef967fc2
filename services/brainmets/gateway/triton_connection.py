"""Owns how the gateway reaches Triton: the client, its bounds, and which refusals pass by themselves."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from brainmets.imaging.errors import DependencyUnavailableError, InferenceFailedError, UnknownModelError
from brainmets.runtime.grpc_client import IN_TURN

# The largest tile a contract may ask for, in float32 with its context, and some more.
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
# A peer that is gone, or stopped, is noticed within both together, whatever the deadline is.
KEEPALIVE_INTERVAL_MS = 5_000
PING_TIMEOUT_MS = 5_000

# gRPC's own pauses grow from a second to minutes. Triton starts last of all, and until it is found nothing is served.
RECONNECT_INTERVAL_MS = 250
# What a call ends with that Triton did not answer in time: it may be slow, and well.
TIMED_OUT = "StatusCode.DEADLINE_EXCEEDED"
# How many are asked without a pause for a version that some of them have not.
TURNS = 8
# Triton restarts, or its queue is full.
_PASSING = ("StatusCode.UNAVAILABLE", "StatusCode.RESOURCE_EXHAUSTED", TIMED_OUT)
# A Triton that was started again knows no shared memory of before.
_FORGOTTEN_MEMORY = "Unable to find shared memory region"
# One that still computes for a call that broke off keeps that call's memory until it is done; by its version it
# refuses to forget the memory, or to be told of it anew.
_BUSY_MEMORY = ("is currently in use", "already in manager")
# A Python-based backend whose process died answers INTERNAL with the first words until it is started again, and
# NOT_FOUND with the last while it is; a model that never was there is "not found".
_DEAD_BACKEND = ("Stub process", "is not healthy", "has no available versions")
_PASSING_WORDS = (*_DEAD_BACKEND, _FORGOTTEN_MEMORY, *_BUSY_MEMORY)

Answer = TypeVar("Answer")


def connect_triton(target: str) -> InferenceServerClient:
    """Return a client of the Tritons at a gRPC target, called in turn; one serves a whole process."""
    return InferenceServerClient(
        target,
        channel_args=[
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_MS),
            ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_INTERVAL_MS),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_INTERVAL_MS),
            IN_TURN,
        ],
    )


@contextmanager
def triton_errors(model_name: str) -> Iterator[None]:
    """Turn Triton's errors into ours.

    Raises:
        DependencyUnavailableError: Triton or the model's backend is not there now; the call may be repeated.
        UnknownModelError: Triton has no such model, or not in this version.
        InferenceFailedError: Triton refuses the call for good.
    """
    try:
        yield
    except InferenceServerException as error:
        status, message = error.status() or "", error.message() or ""
        if status in _PASSING or any(words in message for words in _PASSING_WORDS):
            raise DependencyUnavailableError(
                f"Triton cannot run model {model_name}",
                expected="an answer from Triton",
                got=status,
                remedy="retry; if it lasts, restart Triton",
            ) from error
        if status == "StatusCode.NOT_FOUND":
            raise UnknownModelError(
                f"Triton has no model {model_name}",
                expected="a model of ListModels",
                got="another name or version",
                remedy="add it to the model repository",
            ) from error
        raise InferenceFailedError(
            f"Triton refuses model {model_name}'s tile",
            expected="a tile that the network takes",
            got=f"{status}",
            remedy="look at Triton's log and at the model's config.pbtxt",
        ) from error


async def ask_in_turn(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what the first Triton in turn answers that has the version which `call` names.

    While weights are rolled out, some have the version of before and the others the one of after.

    Raises:
        UnknownModelError: None of them has it.
    """
    for _ in range(TURNS - 1):
        with suppress(UnknownModelError):
            return await call()
    return await call()


def not_in_turn(model_name: str) -> DependencyUnavailableError:
    """Return the error about a version that no Triton in turn has now; the next turn may find one."""
    return DependencyUnavailableError(
        f"No Triton has this version of model {model_name}",
        expected="the version that was described",
        got="other ones",
        remedy="retry; if it lasts, submit the study again",
    )
