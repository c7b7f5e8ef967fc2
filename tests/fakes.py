"""Fakes behind the gateway's ports; each passes the same contract tests as the real adapter."""

# ruff: noqa: ARG002 -- a servicer's methods have gRPC's arguments

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.inference import TileShape
from brainmets.gateway.model_contract import ModelContract, ModelDescription, TensorSpec, read_contract
from brainmets.imaging.errors import InferenceFailedError, UnknownModelError
from brainmets.runtime.grpc_server import stop_server

MODEL_NAMES = ("attention_unet", "nested_unet")
PARAMETERS = {
    "sequences": "t1c,t1n,t2w,t2f",
    "spacing_mm": "2.0",
    "tile_depth": "8",
    "tile_halo": "1",
    "tile_stride": "16",
    "tile_max_size": "64",
    "tile_overlap": "0.125",
    "normalization": "percentile-zscore-v2",
    "threshold": "0.5",
    "min_lesion_volume_mm3": "14.0",
    "threshold_sensitive": "0.2",
    "min_lesion_volume_mm3_sensitive": "5.0",
    "threshold_specific": "0.8",
    "min_lesion_volume_mm3_specific": "30.0",
    "model_card": '{"seed": 7, "never_seen_in_training": ["haemorrhage"]}',
    "onnx_sha256": "ab" * 32,
    "target": "tumour core",
    "training": "none: a fake",
    "research_use_only": "true",
}


def describe_model(model_name: str = "nested_unet", **changes: str) -> ModelDescription:
    """Return a model that keeps the contract, but for the parameters that are changed."""
    return ModelDescription(
        model_name=model_name,
        model_version="1",
        parameters=PARAMETERS | changes,
        inputs=(TensorSpec("tile", "TYPE_FP32", (4, -1, -1, -1)),),
        outputs=(TensorSpec("probability", "TYPE_FP32", (1, -1, -1, -1)),),
        ready=True,
    )


def make_contract(model_name: str = "nested_unet", **changes: str) -> ModelContract:
    """Return the contract of `describe_model`."""
    return read_contract(describe_model(model_name, **changes))


def probability_of(voxels: NDArray[np.float32], *, halo: int) -> NDArray[np.float32]:
    """Return what every fake network answers for a tile (C, D + 2 halo, H, W): its T1c, clipped to [0, 1]."""
    middle = voxels[0, halo : voxels.shape[1] - halo]
    return np.clip(middle, 0.0, 1.0)


class FakeCatalogue:
    """Knows `MODEL_NAMES`."""

    async def describe(self, model_name: str) -> ModelDescription:
        """Return a model that keeps the contract."""
        if model_name not in MODEL_NAMES:
            raise UnknownModelError("No such model", expected="a known one", got="another", remedy="list them")
        return describe_model(model_name)


@dataclass
class FakeTileInferencer:
    """Answers `probability_of`; `in_flight` and `most_in_flight` count calls, `cancelled` those given up."""

    delay_s: float = 0.0
    error: Exception | None = None
    in_flight: int = 0
    most_in_flight: int = 0
    cancelled: int = 0
    seen: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def hold(self, shape: TileShape) -> AsyncIterator[NDArray[np.float32]]:
        """Return memory of this process."""
        yield np.full(shape, np.nan, np.float32)

    async def infer(
        self, model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return the tile's T1c, clipped."""
        deadline.check()
        self.seen.append(model.model_name)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with asyncio.timeout(deadline.remaining_s):
                await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except TimeoutError:
            raise InferenceFailedError("Too slow", expected="an answer", got="none", remedy="wait") from None
        finally:
            self.in_flight -= 1
        if self.error is not None:
            raise self.error
        return probability_of(voxels, halo=model.tiles.halo)


@dataclass
class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Speaks Triton's protocol on loopback and answers `probability_of`.

    `refusals` are given in turn before anything is answered; `cancelled` counts inferences that were given up. Its
    networks have one version each, of one digest; whoever asks for another is told as Triton tells it.
    """

    version: str = "1"
    onnx_sha256: str = PARAMETERS["onnx_sha256"]
    delay_s: float = 0.0
    refusals: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)
    answer_offset: float = 0.0
    cancelled: int = 0
    time_left_s: list[float] = field(default_factory=list)

    # Any context: a fake asks nothing of its messages.
    async def ModelInfer(  # noqa: N802 -- Triton's name
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        """Infer one tile."""
        self.time_left_s.append(context.time_remaining() or 0.0)
        if self.refusals:
            await context.abort(*self.refusals.pop(0))
        await self._check_version(request.model_name, request.model_version, context)
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        voxels = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        halo = int(PARAMETERS["tile_halo"])
        probability = probability_of(voxels[0], halo=halo)[np.newaxis, np.newaxis] + self.answer_offset
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version=self.version,
            outputs=[
                service_pb2.ModelInferResponse.InferOutputTensor(
                    name="probability", datatype="FP32", shape=probability.shape
                )
            ],
            raw_output_contents=[probability.astype(np.float32).tobytes()],
        )

    async def ModelMetadata(  # noqa: N802 -- Triton's name
        self, request: service_pb2.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelMetadataResponse:
        """Tell a model's versions."""
        if request.name not in MODEL_NAMES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
        return service_pb2.ModelMetadataResponse(name=request.name, versions=[self.version])

    async def ModelConfig(  # noqa: N802 -- Triton's name
        self, request: service_pb2.ModelConfigRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelConfigResponse:
        """Tell a model's configuration."""
        await self._check_version(request.name, request.version, context)
        parameters = PARAMETERS | {"onnx_sha256": self.onnx_sha256}
        config = model_config_pb2.ModelConfig(
            name=request.name,
            input=[model_config_pb2.ModelInput(name="tile", data_type="TYPE_FP32", dims=[4, -1, -1, -1])],
            output=[model_config_pb2.ModelOutput(name="probability", data_type="TYPE_FP32", dims=[1, -1, -1, -1])],
            parameters={name: model_config_pb2.ModelParameter(string_value=text) for name, text in parameters.items()},
        )
        return service_pb2.ModelConfigResponse(config=config)

    async def _check_version(self, model_name: str, version: str, context: grpc.aio.ServicerContext) -> None:
        if version not in ("", self.version):
            words = f"Request for unknown model: '{model_name}' version {version} is not found"
            await context.abort(grpc.StatusCode.NOT_FOUND, words)

    async def ModelReady(  # noqa: N802 -- Triton's name
        self, request: service_pb2.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelReadyResponse:
        """Say that it is ready, as Triton does whatever its backends are."""
        return service_pb2.ModelReadyResponse(ready=True)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free loopback port; yields its address."""
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"
        await stop_server(server)
