"""Owns a whole gateway in one process: API and worker on a real Redis, with real preprocessing and a fake Triton."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from brainmets.gateway import inference_health, redis_connection, request_stream
from brainmets.gateway.api import build_api
from brainmets.gateway.crew import Crew, build_worker
from brainmets.gateway.process import Stores, open_stores
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.submission import StudyDesk
from brainmets.gateway.triton_connection import connect_triton
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.preprocessing.app import build_servicer, open_workshop
from brainmets.preprocessing.servicer import METHODS
from brainmets.runtime.grpc_client import open_channel
from brainmets.runtime.grpc_server import INTERNAL_LIMITS, PUBLIC_LIMITS, bind, build_server, stop_server
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import PreprocessingMetrics, RpcMetrics
from brainmets.runtime.settings import ApiSettings, PreprocessingSettings, WorkerSettings
from brainmets.v1 import model_service_pb2_grpc, segmentation_service_pb2_grpc
from fakes import MODEL_NAMES, FakeTriton
from preparation_bench import VOXEL_MM, nifti_bytes

MAX_STUDY_BYTES = 4_000_000
# A lesion's intensity is far above the head's, so that the fake networks, which answer the T1c, find it alone.
HEAD, NOISE, LESION = 500.0, 5.0, 900.0
LESION_RADIUS = 7
# From edge to edge of its voxels.
LESION_DIAMETER_MM = (2 * LESION_RADIUS + 1) * VOXEL_MM
# Of a machine that is busy. A Redis that is dead refuses at once.
PATIENCE_S = 30.0
# Inferences by which a worker finds out that its networks work, before any of a study's.
PROBES = len(MODEL_NAMES) * inference_health.INFERENCES_A_PROBE


def study_voxels(*, lesion: bool = True, seed: int = 0) -> NDArray[np.float32]:
    """Return a head in NIfTI's order (column, row, slice), RAS, with a lesion in its left half, or none."""
    shape = (64, 60, 48)
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, size) for size in shape), indexing="ij")
    texture = np.random.default_rng(seed).normal(HEAD, NOISE, shape)
    voxels = np.where(sum(axis**2 for axis in axes) <= 1.0, texture, 0.0)
    if lesion:
        places = np.indices(shape)
        # Columns rise towards the patient's right in RAS.
        distances = sum((place - centre) ** 2 for place, centre in zip(places, (20, 30, 24), strict=True))
        voxels[distances <= LESION_RADIUS**2] = LESION
    return voxels.astype(np.float32)


def study_bytes(*, lesion: bool = True, seed: int = 0) -> bytes:
    """Return such a head as a file."""
    return nifti_bytes(study_voxels(lesion=lesion, seed=seed))


@dataclass
class GatewayBench:
    """A running API, and a worker that runs when it is told to."""

    address: str
    channel: grpc.aio.Channel
    stores: Stores
    desk: StudyDesk
    crew: Crew
    triton: FakeTriton
    registry: CollectorRegistry

    @property
    def segmentation(self) -> segmentation_service_pb2_grpc.SegmentationServiceStub:
        """The published service, as a client calls it."""
        return segmentation_service_pb2_grpc.SegmentationServiceStub(self.channel)

    @property
    def models(self) -> model_service_pb2_grpc.ModelServiceStub:
        """The published service of models."""
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let the worker work while the block runs."""
        watching = asyncio.create_task(self.crew.inference.watch())
        work = asyncio.create_task(self.crew.worker.run(asyncio.Event()))
        await self.crew.inference.wait_until_serving()
        try:
            yield
        finally:
            # Not told to stop: it may be waiting for a job. Again and again, because redis-py may lose a cancellation.
            while not (work.done() and watching.done()):
                work.cancel()
                watching.cancel()
                await asyncio.wait({work, watching}, timeout=0.1)

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.registry.get_sample_value(f"brainmets_{name}", labels) or 0.0


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """Wait longer than usual for a Redis that answers late."""
    for name in ("CONNECT_TIMEOUT_S", "SOCKET_TIMEOUT_S"):
        patch.setattr(redis_connection, name, PATIENCE_S)


@asynccontextmanager
async def running_gateway(redis_url: str, artifact_url: str, **limits: float) -> AsyncIterator[GatewayBench]:
    """Run everything on free loopback ports; `limits` are settings of the worker and the API."""
    triton, registry = FakeTriton(), CollectorRegistry()
    common = {"redis_url": redis_url, "artifact_url": artifact_url}
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        be_patient(patch)
        patch.setattr(request_stream, "HEARING_S", PATIENCE_S)
        # Once, so that what Triton is asked then are tiles.
        patch.setattr(inference_health, "PROBE_INTERVAL_S", 3600.0)
        triton_address = await stack.enter_async_context(triton.serve())
        preparation = await stack.enter_async_context(_preprocessing(artifact_url))
        api_settings = ApiSettings.model_validate(
            {**common, "triton_address": triton_address, "max_study_bytes": MAX_STUDY_BYTES, **limits}
        )
        worker_settings = WorkerSettings.model_validate({**common, "triton_address": triton_address, **limits})
        stores = await stack.enter_async_context(open_stores(api_settings, asyncio.Event()))
        client = await stack.enter_async_context(connect_triton(triton_address))
        uploads = RedisUploadStore(
            stores.client,
            upload_lifetime_s=60,
            max_study_bytes=api_settings.max_study_bytes,
            max_open_uploads=api_settings.max_open_uploads,
        )
        desk = StudyDesk(stores.jobs, uploads, stores.artifacts)
        api = build_api(api_settings, stores, client, desk=desk, uploads=uploads, registry=registry)
        stack.push_async_callback(stop_server, api)
        address = bind(api, "127.0.0.1:0")
        await api.start()
        channel = await stack.enter_async_context(open_channel(address, PUBLIC_LIMITS))
        crew = build_worker(
            worker_settings,
            stores,
            client,
            preprocessing=await stack.enter_async_context(open_channel(preparation)),
            health=Health("worker", "inference"),
            registry=registry,
        )
        yield GatewayBench(address, channel, stores, desk, crew, triton, registry)


@asynccontextmanager
async def _preprocessing(artifact_url: str) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    metrics = PreprocessingMetrics(registry)
    settings = PreprocessingSettings(artifact_url=artifact_url, decoders=1, decoding_time_s=PATIENCE_S)
    async with open_workshop(settings, metrics) as workshop:
        server = build_server(INTERNAL_LIMITS, RpcMetrics(registry, service="preprocessing", methods=METHODS))
        servicer = build_servicer(settings, workshop, metrics)
        preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(servicer, server)
        address = bind(server, "127.0.0.1:0")
        await server.start()
        try:
            yield address
        finally:
            await stop_server(server)
