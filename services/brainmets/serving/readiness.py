"""Owns when what `brainmets serve` has started is ready, and what a person sees until then."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console

# Until then an answer is awaited without asking how long it will be.
APPEARS_AFTER_S = 2.0
_POLL_S = 0.2
_QUESTION_TIMEOUT_S = 2.0
_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class Part:
    """Something that must serve.

    Attributes:
        words: What a person reads that is waited for.
        address: host:port of a process's grpc.health.v1.
        name: What is asked for there.
    """

    words: str
    address: str
    name: str


async def wait_until_ready(parts: Iterable[Part], console: Console) -> None:
    """Return once all parts serve; what is waited for is shown when it takes long, if the console is a terminal."""
    began_s = time.monotonic()
    with ExitStack() as shown:
        status = None
        for part in parts:
            while not await asyncio.to_thread(serves, part.address, part.name):
                await asyncio.sleep(_POLL_S)
                waited_s = time.monotonic() - began_s
                if status is None and waited_s > APPEARS_AFTER_S:
                    status = shown.enter_context(console.status(""))
                if status is not None:
                    status.update(f"Waiting for {part.words} ({waited_s:.0f} s)")


def serves(address: str, name: str) -> bool:
    """Return whether a process's grpc.health.v1 at host:port says that what is named serves."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=name), timeout=_QUESTION_TIMEOUT_S
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == _SERVING)
