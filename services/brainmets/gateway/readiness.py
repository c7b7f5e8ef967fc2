"""Owns whether what a gateway process depends on answers it, and so whether it can take work.

A study is accepted although no network runs: it is stored, and waits. So Triton and preprocessing are looked at and
told, but work is taken without them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import grpc.aio
import redis.asyncio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from brainmets.gateway.redis_connection import redis_errors
from brainmets.imaging.errors import BrainmetsError, DependencyUnavailableError
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import DependencyMetrics

# Pause between looks: orchestrators ask about as often.
INTERVAL_S = 2.0
# What takes longer to answer is not there to work with.
TIMEOUT_S = 3.0
# A prefix that nobody writes to: what is asked is whether the store answers.
PROBED_PREFIX = "readiness/"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that a process depends on.

    Attributes:
        name: A value of the metrics contract's label `dependency`.
        look: Returns when it answers, and raises a BrainmetsError when it does not.
        needed: Whether no work can be taken without it.
    """

    name: str
    look: Callable[[], Awaitable[None]]
    needed: bool = True


def redis_dependency(client: redis.asyncio.Redis) -> Dependency:
    """Return Redis, which takes and gives jobs."""

    async def look() -> None:
        with redis_errors():
            await client.ping()

    return Dependency("redis", look)


def store_dependency(artifacts: ArtifactStore) -> Dependency:
    """Return the artefact store, which holds studies and results."""

    async def look() -> None:
        await artifacts.list_paths(PROBED_PREFIX)

    return Dependency("store", look)


def triton_dependency(client: InferenceServerClient) -> Dependency:
    """Return Triton as a server; whether its networks infer is InferenceHealth's."""

    async def look() -> None:
        try:
            await client.is_server_live(client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            raise DependencyUnavailableError(
                "Triton does not answer",
                expected="a server that is live",
                got=error.status() or "no answer",
                remedy="start it, or look at its log",
            ) from error

    return Dependency("triton", look, needed=False)


def preprocessing_dependency(channel: grpc.aio.Channel) -> Dependency:
    """Return the preprocessing service."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def look() -> None:
        with rpc_errors():
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise DependencyUnavailableError(
                "Preprocessing does not serve",
                expected="SERVING",
                got=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status),
                remedy="wait until it has started, or look at its log",
            )

    return Dependency("preprocessing", look, needed=False)


async def keep_parts_ready(
    parts: Collection[str],
    dependencies: Collection[Dependency],
    *,
    health: Health,
    registry: CollectorRegistry,
    service: str,
) -> None:
    """Tell a service's health and metrics for ever whether what it depends on answers."""
    metrics = DependencyMetrics(registry, service=service, names=[dependency.name for dependency in dependencies])

    async def note(serving: bool) -> None:  # noqa: FBT001 -- a callback's one argument
        for part in parts:
            await health.note(part, serving=serving)

    await watch_readiness(dependencies, note=note, on_look=metrics.note)


async def watch_readiness(
    dependencies: Collection[Dependency],
    *,
    note: Callable[[bool], Awaitable[None]],
    on_look: Callable[[str, bool], None],
) -> None:
    """Look at all for ever, and tell `on_look` of each whether it answered.

    `note` is awaited with whether everything that is needed answers, each time that changes; first with what is so at
    the start.
    """
    known: bool | None = None
    while True:
        answers = await asyncio.gather(*(_answers(dependency) for dependency in dependencies))
        for dependency, answered in zip(dependencies, answers, strict=True):
            on_look(dependency.name, answered)
        ready = all(answered or not each.needed for each, answered in zip(dependencies, answers, strict=True))
        if ready != known:
            _log.info("readiness_changed", ready=ready)
            await note(ready)
        known = ready
        await asyncio.sleep(INTERVAL_S)


async def _answers(dependency: Dependency) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await dependency.look()
    except (BrainmetsError, TimeoutError) as error:
        got = getattr(error, "message", "no answer in time")
        _log.warning("dependency_down", dependency=dependency.name, kind=type(error).__name__, got=got)
        return False
    return True
