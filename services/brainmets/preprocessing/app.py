"""Builds the preprocessing process and runs it until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.preprocessing.decoder_pool import DecoderPool
from brainmets.preprocessing.decoding_messages import DecodingLimits
from brainmets.preprocessing.servicer import METHODS, SERVICE_NAME, PreprocessingServicer
from brainmets.preprocessing.workshop import Workshop
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.runtime.cores import count_cores
from brainmets.runtime.grpc_server import (
    INTERNAL_LIMITS,
    bind,
    build_server,
    publish,
    serve_health,
    serve_until,
    stop_server,
)
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import PreprocessingMetrics, RpcMetrics
from brainmets.runtime.metrics_server import new_registry, serve_metrics
from brainmets.runtime.settings import PreprocessingSettings

# A study takes a second; orchestrators kill after 30.
SHUTDOWN_GRACE_S = 20.0

_log = structlog.get_logger(__name__)


async def run_preprocessing(settings: PreprocessingSettings, stopping: asyncio.Event) -> None:
    """Serve until told to stop, and end the studies under way.

    Raises:
        OSError: A port is taken, or the decoders do not start.
        DependencyUnavailableError: The artefact store cannot be opened.
    """
    registry = new_registry()
    health = Health(SERVICE_NAME)
    metrics = PreprocessingMetrics(registry)
    async with AsyncExitStack() as stack:
        workshop = await stack.enter_async_context(open_workshop(settings, metrics))
        servicer = build_servicer(settings, workshop, metrics)
        server = build_server(INTERNAL_LIMITS, RpcMetrics(registry, service="preprocessing", methods=METHODS))
        preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(servicer, server)
        publish(server, (SERVICE_NAME,), health)
        stack.push_async_callback(stop_server, server)
        address = bind(server, settings.listen_address)
        stack.enter_context(serve_metrics(registry, settings.metrics_address))
        await workshop.wait_until_ready()
        await stack.enter_async_context(serve_health(health, settings.health_address))
        await health.note(SERVICE_NAME, serving=True)
        _log.info("preprocessing_serves", address=address)
        await serve_until(stopping, server, health=health, grace_s=SHUTDOWN_GRACE_S)
    _log.info("preprocessing_stopped")


@asynccontextmanager
async def open_workshop(settings: PreprocessingSettings, metrics: PreprocessingMetrics) -> AsyncIterator[Workshop]:
    """Open what studies are prepared with, and end its threads and decoders afterwards.

    Raises:
        DependencyUnavailableError: The artefact store cannot be opened.
        DataLossError: The brain network was changed since it was shipped.
    """
    artifacts = ArtifactStore.open(settings.artifact_url)
    limits = DecodingLimits(settings.decoding_time_s, settings.decoding_memory_bytes)
    # As many as it has cores: every step is CPU work that leaves Python's lock.
    with ThreadPoolExecutor(count_cores(), thread_name_prefix="preparation") as threads:
        # A study takes a place before it takes a decoder.
        count = min(settings.decoders, settings.max_studies)
        async with DecoderPool.open(count, limits, metrics) as decoders:
            yield Workshop(artifacts, decoders, threads, metrics, load_brain_network())


def build_servicer(
    settings: PreprocessingSettings, workshop: Workshop, metrics: PreprocessingMetrics
) -> PreprocessingServicer:
    """Return the service."""
    return PreprocessingServicer(
        workshop, metrics, max_studies=settings.max_studies, max_study_bytes=settings.max_study_bytes
    )
