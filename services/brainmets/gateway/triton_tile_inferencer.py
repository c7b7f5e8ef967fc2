"""Owns inference on Triton: one tile in, its probability out."""

from contextlib import AbstractAsyncContextManager

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.deadline import Deadline, deadline_passed, retry_while_unavailable
from brainmets.gateway.inference import TileShape
from brainmets.gateway.model_contract import ModelContract
from brainmets.gateway.tile_transport import MessageTransport, TileTransport
from brainmets.gateway.triton_connection import TIMED_OUT, ask_in_turn, not_in_turn, triton_errors
from brainmets.imaging.errors import (
    DependencyUnavailableError,
    InferenceFailedError,
    OverloadedError,
    UnknownModelError,
)
from brainmets.imaging.tile_contract import OUTPUT_NAME
from brainmets.runtime.metrics import RpcMetrics
from brainmets.runtime.tracing import trace_headers

METHOD = "ModelInfer"
# One call's longest wait. The largest tile takes some seconds on two cores, behind as many others as are in flight.
CALL_TIMEOUT_S = 60.0
# So often no Triton in turn had a version, some seconds in all, before it counts as gone.
TURNS_BEFORE_GONE = 5


class TritonTileInferencer:
    """Runs networks on a Triton; the adapter behind the port `TileInferencer`.

    `calls` counts every single call, also those that are repeated.
    """

    def __init__(
        self, client: InferenceServerClient, calls: RpcMetrics | None = None, *, transport: TileTransport | None = None
    ) -> None:
        self._client = client
        self._transport = transport or MessageTransport()
        self._calls = calls or RpcMetrics(CollectorRegistry(), service="worker", methods=(METHOD,))

    def hold(self, shape: TileShape) -> AbstractAsyncContextManager[NDArray[np.float32]]:
        """Return memory for a tile that reaches Triton the transport's way."""
        return self._transport.hold(shape)

    async def infer(
        self, model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return the probability (D, H, W), in [0, 1], of a tile's voxels (C, D + 2 halo, H, W).

        Raises:
            InferenceFailedError: The network stayed unavailable until the deadline, or what it answers is none.
            UnknownModelError: Every Triton has another version of it by now.
            DeadlineExceededError: The deadline had passed before the call, or passed while Triton computed.
        """
        refusals: list[str] = []
        missing = 0

        async def call() -> NDArray[np.float32] | None:
            nonlocal missing
            try:
                return await self._call(model, voxels, deadline)
            except DependencyUnavailableError as error:
                refusals.append(error.got)
                raise
            except UnknownModelError as error:
                missing += 1
                if missing == TURNS_BEFORE_GONE:
                    raise
                passing = not_in_turn(model.model_name)
                refusals.append(passing.got)
                raise passing from error

        try:
            answer = await retry_while_unavailable(call, deadline)
        except (DependencyUnavailableError, OverloadedError) as error:
            # Triton only had too little time: to restart it would not help.
            if all(got == TIMED_OUT for got in refusals):
                raise deadline_passed() from error
            raise InferenceFailedError(
                f"Model {model.model_name} stayed unavailable until the job's deadline",
                expected="an inference",
                got=error.got,
                remedy="submit the study again later; if it lasts, restart Triton",
            ) from error
        return _checked(answer, model=model, tile=voxels)

    async def infer_once(
        self, model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return what `infer` does, from one call: whoever asks for Triton's health must hear of its first refusal.

        Raises:
            DependencyUnavailableError: The network is not available now.
            UnknownModelError: No Triton in turn has this version of it.
            InferenceFailedError: What it answers is no probability.
        """
        return _checked(await self._call(model, voxels, deadline), model=model, tile=voxels)

    async def _call(
        self, model: ModelContract, voxels: NDArray[np.float32], deadline: Deadline
    ) -> NDArray[np.float32] | None:
        async with self._transport.place(voxels) as tile:
            return await ask_in_turn(lambda: self._infer(model, tile, deadline))

    async def _infer(self, model: ModelContract, tile: InferInput, deadline: Deadline) -> NDArray[np.float32] | None:
        with self._calls.measure(METHOD), triton_errors(model.model_name):
            answer = await self._client.infer(
                model.model_name,
                [tile],
                model_version=model.model_version,
                outputs=[InferRequestedOutput(OUTPUT_NAME)],
                client_timeout=min(CALL_TIMEOUT_S, deadline.remaining_s),
                headers=trace_headers(),
            )
        probability: NDArray[np.float32] | None = answer.as_numpy(OUTPUT_NAME)  # (1, 1, D, H, W)
        return probability


def _checked(
    probability: NDArray[np.float32] | None, *, model: ModelContract, tile: NDArray[np.float32]
) -> NDArray[np.float32]:
    _, slices, rows, columns = tile.shape
    shape = (slices - 2 * model.tiles.halo, rows, columns)
    if probability is None or probability.shape != (1, 1, *shape):
        got = "none" if probability is None else str(probability.shape)
        raise _no_probability(model, expected=f"an array of shape {(1, 1, *shape)}", got=got)
    # Written so that a NaN fails too.
    if not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise _no_probability(model, expected="values in [0, 1]", got="values outside")
    decided: NDArray[np.float32] = probability[0, 0]
    return decided


def _no_probability(model: ModelContract, *, expected: str, got: str) -> InferenceFailedError:
    return InferenceFailedError(
        f"What model {model.model_name} answers is no probability",
        expected=expected,
        got=got,
        remedy="look at Triton's log and export the model again",
    )
