"""Builds the preprocessing process and runs it until it is told to stop."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry

from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.preprocessing.servicer import METHODS, SERVICE_NAME, PreprocessingServicer
from brainmets.preprocessing.workshop import Workshop
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.grpc_server import (
    INTERNAL_LIMITS,
    bind,
    build_server,
    publish,
    serve_health,
    serve_until,
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
        OSError: A port is taken.
        DependencyUnavailableError: The artefact store cannot be opened.
    """
    registry = new_registry()
    health = Health(SERVICE_NAME)
    # As many as there are cores: every step is CPU work that leaves Python's lock.
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="preparation") as threads:
        servicer = build_servicer(settings, threads, registry)
        server = build_server(INTERNAL_LIMITS, RpcMetrics(registry, service="preprocessing", methods=METHODS))
        preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(servicer, server)
        publish(server, (SERVICE_NAME,), health)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop, None)
            address = bind(server, settings.listen_address)
            stack.enter_context(serve_metrics(registry, settings.metrics_address))
            await stack.enter_async_context(serve_health(health, settings.health_address))
            await health.note(SERVICE_NAME, serving=True)
            _log.info("preprocessing_serves", address=address)
            await serve_until(stopping, server, health=health, grace_s=SHUTDOWN_GRACE_S)
    _log.info("preprocessing_stopped")


def build_servicer(
    settings: PreprocessingSettings, threads: ThreadPoolExecutor, registry: CollectorRegistry
) -> PreprocessingServicer:
    """Return the service on its artefact store."""
    metrics = PreprocessingMetrics(registry)
    return PreprocessingServicer(
        Workshop(ArtifactStore.open(settings.artifact_url), threads, metrics),
        metrics,
        max_studies=settings.max_studies,
        max_study_bytes=settings.max_study_bytes,
    )
