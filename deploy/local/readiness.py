"""Owns when a stack is ready: its parts say so, and Triton's answers are right."""

import time
from collections.abc import Callable, Iterator

from brainmets.serving.readiness import serves
from local.errors import StackError
from local.ports import HOST
from local.processes import Place
from local.triton_values import check_values

# Some five seconds on two idle cores.
START_TIMEOUT_S = 90.0
_POLL_S = 0.1


def wait_until_ready(place: Place, check_alive: Callable[[], None]) -> None:
    """Return once every part of a stack serves and Triton's values are those of ONNX Runtime.

    `check_alive` is asked meanwhile, and raises when waiting has become pointless.

    Raises:
        StackError: A part does not become ready in time, or Triton answers wrong values.
    """
    give_up_s = time.monotonic() + START_TIMEOUT_S
    for process_name, port, part in _parts(place):
        while not serves(f"{HOST}:{port}", part):
            check_alive()
            if time.monotonic() > give_up_s:
                raise StackError(
                    f"The {process_name} was not ready within {START_TIMEOUT_S:.0f} s; see {place.log(process_name)}."
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
