"""Owns when a stack is ready: its parts say so, and Triton's answers are right."""

import time
from collections.abc import Callable, Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.errors import StackError
from local.ports import HOST
from local.processes import Place
from local.triton_values import check_values

# Some five seconds on two idle cores.
START_TIMEOUT_S = 90.0
_POLL_S = 0.1
_QUESTION_TIMEOUT_S = 2.0
_SERVING = health_pb2.HealthCheckResponse.SERVING


def wait_until_ready(place: Place, check_alive: Callable[[], None], *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once every part of a stack serves and Triton's values are those of ONNX Runtime.

    `check_alive` is asked meanwhile, and raises when waiting has become pointless.

    Raises:
        StackError: A part does not become ready in time, or Triton answers wrong values.
    """
    give_up_s = time.monotonic() + timeout_s
    for process_name, port, part in _parts(place):
        while not _serves(port, part):
            check_alive()
            if time.monotonic() > give_up_s:
                raise StackError(
                    f"The {process_name} was not ready within {timeout_s:.0f} s; see {place.log(process_name)}."
                )
            time.sleep(_POLL_S)
        if process_name == "triton":
            check_values(f"{HOST}:{port}", place.model_repository)


def _parts(place: Place) -> Iterator[tuple[str, int, str]]:
    """Iterate over processes, the ports of their grpc.health.v1, and what to ask there."""
    ports = place.ports
    yield "triton", ports.triton, ""
    yield "preprocessing", ports.preprocessing_health, "brainmets.internal.v1.PreprocessingService"
    yield "api", ports.api_health, "brainmets.v1.SegmentationService"
    yield "worker", ports.worker_health, "worker"
    yield "worker", ports.worker_health, "inference"


def _serves(port: int, part: str) -> bool:
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(
                health_pb2.HealthCheckRequest(service=part), timeout=_QUESTION_TIMEOUT_S, wait_for_ready=False
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == _SERVING)
