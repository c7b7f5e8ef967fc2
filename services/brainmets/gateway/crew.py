"""Builds a worker with all that it needs and runs it until it is told to stop."""

import asyncio
import functools
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.attempt import Attempts
from brainmets.gateway.grpc_study_preparer import METHOD as PREPARE_METHOD
from brainmets.gateway.grpc_study_preparer import GrpcStudyPreparer
from brainmets.gateway.housekeeping import keep_house
from brainmets.gateway.inference_health import InferenceHealth
from brainmets.gateway.job_metrics import JobMetrics
from brainmets.gateway.jobs import FailureReason, Stage
from brainmets.gateway.measured_catalogue import MeasuredCatalogue
from brainmets.gateway.measured_inferencer import MeasuredInferencer
from brainmets.gateway.process import Stores, in_background, open_stores
from brainmets.gateway.readiness import (
    keep_parts_ready,
    preprocessing_dependency,
    redis_dependency,
    store_dependency,
    triton_dependency,
)
from brainmets.gateway.tile_transport import MessageTransport, SharedMemoryTransport, TileTransport
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.gateway.triton_recovery import revive
from brainmets.gateway.triton_tile_inferencer import METHOD as INFER_METHOD
from brainmets.gateway.triton_tile_inferencer import TritonTileInferencer
from brainmets.gateway.worker import StudyWorker, WorkerIdentity
from brainmets.gateway.workflow import Workbench
from brainmets.runtime.build_identity import identify_build
from brainmets.runtime.grpc_client import open_channel
from brainmets.runtime.grpc_server import serve_health
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import RpcMetrics, WorkerMetrics
from brainmets.runtime.metrics_server import new_registry, serve_metrics
from brainmets.runtime.settings import WorkerSettings

# "worker" serves while jobs can be claimed and recorded, "inference" while every network infers.
WORKER_PART, INFERENCE_PART = "worker", "inference"

_log = structlog.get_logger(__name__)


async def run_worker(settings: WorkerSettings, stopping: asyncio.Event) -> None:
    """Work studies off until told to stop; those under way are finished, or given back.

    Raises:
        OSError: A port is taken.
        DependencyUnavailableError: Redis or the artefact store cannot be opened.
    """
    # Read now: a checkout may be edited before the first study comes.
    build = identify_build()
    registry, health = new_registry(), Health(WORKER_PART, INFERENCE_PART)
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, stopping))
        triton = await stack.enter_async_context(connect_triton(settings.triton_address))
        preprocessing = await stack.enter_async_context(open_channel(settings.preprocessing_address))
        stack.enter_context(serve_metrics(registry, settings.metrics_address))
        await stack.enter_async_context(serve_health(health, settings.health_address))
        crew = build_worker(settings, stores, triton, preprocessing=preprocessing, health=health, registry=registry)
        stack.push_async_callback(crew.transport.close)
        dependencies = (
            redis_dependency(stores.client),
            store_dependency(stores.artifacts),
            triton_dependency(triton),
            preprocessing_dependency(preprocessing),
        )
        metrics = JobMetrics(registry, service="worker")
        async with in_background(
            keep_parts_ready((WORKER_PART,), dependencies, health=health, registry=registry, service="worker"),
            keep_house(stores.jobs, stores.artifacts, on_measured=metrics.note, on_unmeasured=metrics.forget),
            crew.inference.watch(),
        ):
            _log.info("worker_works", worker=crew.name, build=build)
            await crew.worker.run(stopping)
            await health.drain()
    _log.info("worker_stopped")


@dataclass(frozen=True, slots=True)
class Crew:
    """A worker, and what watches over the networks that it needs."""

    name: str
    worker: StudyWorker
    inference: InferenceHealth
    transport: TileTransport


def build_worker(
    settings: WorkerSettings,
    stores: Stores,
    triton: InferenceServerClient,
    *,
    preprocessing: grpc.aio.Channel,
    health: Health,
    registry: CollectorRegistry,
) -> Crew:
    """Return a worker that waits for inference to work, not yet running."""
    metrics = WorkerMetrics(
        registry,
        stages=(stage for stage in Stage if stage is not Stage.NONE),
        reasons=FailureReason,
        models=settings.models,
    )
    calls = RpcMetrics(registry, service="worker", methods=(PREPARE_METHOD, INFER_METHOD))
    transport = SharedMemoryTransport(triton) if settings.triton_shares_memory else MessageTransport()
    catalogue = MeasuredCatalogue(TritonModelCatalogue(triton), metrics)
    inferencer = TritonTileInferencer(triton, calls, transport=transport)
    bench = Workbench(
        preparer=GrpcStudyPreparer(preprocessing, calls, on_received=metrics.received_bytes.inc),
        inferencer=MeasuredInferencer(inferencer, metrics),
        tiles_in_flight=settings.tiles_in_flight,
    )

    async def note_inference(serving: bool) -> None:  # noqa: FBT001 -- a callback's one argument
        metrics.inference_healthy.set(serving)
        await health.note(INFERENCE_PART, serving=serving)

    inference = InferenceHealth(
        catalogue,
        inferencer.infer_once,
        settings.models,
        on_change=note_inference,
        revive=functools.partial(revive, triton),
    )
    # Tells two workers of one host apart, and two hosts.
    identity = WorkerIdentity(
        f"{socket.gethostname()}-{os.getpid()}", settings.redis_url.get_secret_value(), settings.lease_s
    )
    attempts = Attempts(stores.jobs, stores.artifacts, catalogue, bench, metrics)
    worker = StudyWorker(identity, stores.jobs, attempts, inference, studies_in_flight=settings.studies_in_flight)
    return Crew(identity.name, worker, inference, transport)
