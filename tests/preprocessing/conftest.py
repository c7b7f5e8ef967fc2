"""The real preprocessing service on a free port, an artefact store in a folder, and small heads to send."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.preprocessing.app import build_servicer, open_workshop
from brainmets.preprocessing.servicer import METHODS, SERVICE_NAME
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.grpc_client import open_channel
from brainmets.runtime.grpc_server import INTERNAL_LIMITS, bind, build_server, publish, stop_server
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import PreprocessingMetrics, RpcMetrics
from brainmets.runtime.settings import PreprocessingSettings
from preparation_bench import VOXEL_MM, PreparationBench, head_voxels, nifti_bytes


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[PreparationBench]:
    """A service for two studies at a time of at most 8 MB each."""
    settings = PreprocessingSettings(
        artifact_url=tmp_path.as_uri(), max_studies=2, max_study_bytes=8_000_000, decoders=1, decoding_time_s=60
    )
    registry = CollectorRegistry()
    metrics = PreprocessingMetrics(registry)
    async with open_workshop(settings, metrics) as workshop:
        servicer = build_servicer(settings, workshop, metrics)
        server = build_server(INTERNAL_LIMITS, RpcMetrics(registry, service="preprocessing", methods=METHODS))
        preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(servicer, server)
        publish(server, (SERVICE_NAME,), Health(SERVICE_NAME))
        address = bind(server, "127.0.0.1:0")
        await server.start()
        try:
            async with open_channel(address) as channel:
                stub = preprocessing_service_pb2_grpc.PreprocessingServiceStub(channel)
                yield PreparationBench(stub, ArtifactStore.open(settings.artifact_url), registry)
        finally:
            await stop_server(server)


@pytest.fixture
def head() -> Callable[..., bytes]:
    """Make a small head's file."""

    def make(*, seed: int = 0, shift_mm: float = 0.0, spacing_mm: float = VOXEL_MM) -> bytes:
        return nifti_bytes(head_voxels(seed=seed), shift_mm=shift_mm, spacing_mm=spacing_mm)

    return make
