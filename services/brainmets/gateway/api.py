"""Builds the gateway's API and runs it until it is told to stop."""

import asyncio
import functools
from contextlib import AsyncExitStack

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.housekeeping import keep_house
from brainmets.gateway.job_metrics import JobMetrics
from brainmets.gateway.model_servicer import ModelServicer
from brainmets.gateway.process import Stores, in_background, open_stores
from brainmets.gateway.readiness import (
    keep_parts_ready,
    redis_dependency,
    store_dependency,
    triton_dependency,
)
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.servicer import SegmentationServicer
from brainmets.gateway.submission import StudyDesk
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.runtime.certificate import read_expiry_s
from brainmets.runtime.grpc_server import (
    PUBLIC_LIMITS,
    bind,
    build_server,
    publish,
    serve_health,
    serve_until,
    stop_server,
)
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import ApiMetrics, RpcMetrics
from brainmets.runtime.metrics_server import new_registry, serve_metrics
from brainmets.runtime.settings import ApiSettings
from brainmets.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    segmentation_service_pb2,
    segmentation_service_pb2_grpc,
)

_SERVICES = (
    segmentation_service_pb2.DESCRIPTOR.services_by_name["SegmentationService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
)
API_PARTS = tuple(service.full_name for service in _SERVICES)
API_METHODS = tuple(method.name for service in _SERVICES for method in service.methods)
# Uploads and downloads under way may end; orchestrators kill after 30 s.
SHUTDOWN_GRACE_S = 20.0

_log = structlog.get_logger(__name__)


async def run_api(settings: ApiSettings, stopping: asyncio.Event) -> None:
    """Serve the published contract until told to stop, and end the calls under way.

    Raises:
        OSError: A port is taken.
        DependencyUnavailableError: Redis or the artefact store cannot be opened.
    """
    registry, health = new_registry(), Health(*API_PARTS)
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, stopping))
        triton = await stack.enter_async_context(connect_triton(settings.triton_address))
        dependencies = (redis_dependency(stores.client), store_dependency(stores.artifacts), triton_dependency(triton))
        uploads = RedisUploadStore(
            stores.client,
            upload_lifetime_s=settings.upload_lifetime_s,
            max_study_bytes=settings.max_study_bytes,
            max_open_uploads=settings.max_open_uploads,
        )
        desk = StudyDesk(stores.jobs, uploads, stores.artifacts)
        server = build_api(settings, stores, triton, desk=desk, uploads=uploads, registry=registry)
        publish(server, API_PARTS, health)
        stack.push_async_callback(stop_server, server)
        address = bind(server, settings.listen_address)
        stack.enter_context(serve_metrics(registry, settings.metrics_address))
        await stack.enter_async_context(serve_health(health, settings.health_address))
        metrics = JobMetrics(registry, service="gateway")
        async with in_background(
            keep_parts_ready(API_PARTS, dependencies, health=health, registry=registry, service="gateway"),
            keep_house(stores.jobs, stores.artifacts, on_measured=metrics.note, on_unmeasured=metrics.forget),
            _drain_when(stopping, desk),
        ):
            _log.info("api_serves", address=address)
            await serve_until(stopping, server, health=health, grace_s=SHUTDOWN_GRACE_S)
    _log.info("api_stopped")


def build_api(
    settings: ApiSettings,
    stores: Stores,
    triton: InferenceServerClient,
    *,
    desk: StudyDesk,
    uploads: RedisUploadStore,
    registry: CollectorRegistry,
) -> grpc.aio.Server:
    """Return the API's server, not yet bound."""
    metrics = ApiMetrics(registry)
    server = build_server(
        PUBLIC_LIMITS,
        RpcMetrics(registry, service="gateway", methods=API_METHODS),
        on_refused=metrics.note_overload,
    )
    if settings.certificate_file is not None:
        metrics.watch_certificate(functools.partial(read_expiry_s, settings.certificate_file))
    segmentation = SegmentationServicer(
        desk,
        stores.jobs,
        uploads,
        metrics=metrics,
        job_deadline_s=settings.job_deadline_s,
    )
    segmentation_service_pb2_grpc.add_SegmentationServiceServicer_to_server(segmentation, server)
    models = ModelServicer(TritonModelCatalogue(triton), settings.models)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    return server


async def _drain_when(stopping: asyncio.Event, desk: StudyDesk) -> None:
    await stopping.wait()
    desk.drain()
