"""Owns how a gRPC server is built, bound, and stopped without losing a call."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from brainmets.runtime.grpc_interceptors import (
    PlacesInterceptor,
    error_interceptor,
    metrics_interceptor,
    tracing_interceptor,
)
from brainmets.runtime.health import SERVICE_NAME, Health
from brainmets.runtime.metrics import RpcMetrics
from brainmets.runtime.tracing import is_tracing

# A peer that is gone, or stopped, is noticed within interval and timeout together; without
# http2.ping_timeout_ms a frozen one takes a minute.
KEEPALIVE_INTERVAL_MS = 20_000
PING_TIMEOUT_MS = 10_000
# Clients may ping this often; below it they are told to calm down and cut off.
MIN_PING_INTERVAL_MS = 5_000
MAX_METADATA_BYTES = 16 * 1024
# A caller asks for the addresses of a name when a connection ends, and so finds servers that came later. Calls under
# way are not cut off: gRPC gives them as long as they take. Triton's image has the same age.
CONNECTION_AGE_MS = 300_000
# gRPC itself takes so many times the calls that we take: refused ones are over within milliseconds, and what it refuses
# by itself is counted nowhere and has no details.
BEYOND_LIMIT = 4
# gRPC's tasks for a call that has ended are waited for so long, which they need a moment of.
_CALL_ENDS_S = 3.0
# gRPC's word for an age that is never reached.
_ENDLESS_MS = 2**31 - 1
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server takes.

    Attributes:
        max_message_bytes: Largest message either way.
        max_concurrent_rpcs: Calls under way, streams included; one more is RESOURCE_EXHAUSTED.
        max_connection_age_ms: After about this long a connection takes no new calls.
        window_bytes: What a stream may bring before it is read; none: as much as the line seems to carry.
    """

    max_message_bytes: int
    max_concurrent_rpcs: int
    max_connection_age_ms: int = _ENDLESS_MS
    window_bytes: int | None = None


# A chunk of the published contract is at most 1 MiB, and a job with its result far less than 4.
# What gRPC finds out about the line makes windows of many MiB, and as much memory for each upload that waits for the
# disk. 1 MiB carries 15 MiB/s over 50 ms and whatever a hospital's network can carry (DECISIONS 55).
PUBLIC_LIMITS = ServerLimits(max_message_bytes=4 * _MIB, max_concurrent_rpcs=512, window_bytes=_MIB)
# The largest tile: 4 sequences, 36 slices and 256 x 256 in float16 are 19 MB.
INTERNAL_LIMITS = ServerLimits(
    max_message_bytes=64 * _MIB, max_concurrent_rpcs=64, max_connection_age_ms=CONNECTION_AGE_MS
)
PROBE_LIMITS = ServerLimits(max_message_bytes=64 * 1024, max_concurrent_rpcs=64)


def build_server(
    limits: ServerLimits, metrics: RpcMetrics, *, on_refused: Callable[[str], None] = lambda _method: None
) -> grpc.aio.Server:
    """Return a server whose calls are counted, timed, traced where that is on, and end in a status with details.

    Args:
        limits: What it takes.
        metrics: Where calls are counted.
        on_refused: Told the method of each call that was refused because too many are under way.
    """
    interceptors: list[grpc.aio.ServerInterceptor] = [metrics_interceptor(metrics), error_interceptor()]  # type: ignore[type-arg]  # generic in its stubs only
    if is_tracing():
        interceptors.append(tracing_interceptor())
    interceptors.append(PlacesInterceptor(limits.max_concurrent_rpcs, on_refused))
    return grpc.aio.server(
        interceptors=interceptors,
        options=_options(limits),
        maximum_concurrent_rpcs=BEYOND_LIMIT * limits.max_concurrent_rpcs,
    )


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    window = (
        []
        if limits.window_bytes is None
        else [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", limits.window_bytes)]
    )
    return [
        *window,
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", limits.max_concurrent_rpcs),
        ("grpc.max_connection_age_ms", limits.max_connection_age_ms),
        ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # Else two processes share a port, and half of the calls go to the one nobody thinks of.
        ("grpc.so_reuseport", 0),
    ]


def bind(server: grpc.aio.Server, address: str) -> str:
    """Bind a server to host:port and return where that is; port 0 takes a free one.

    Raises:
        OSError: The port is taken, or the host is not this machine's.
    """
    host, _, wanted = address.rpartition(":")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        message = f"cannot listen on port {wanted} of {host}: is it in use?"
        raise OSError(message)
    return f"{host}:{port}"


def publish(server: grpc.aio.Server, service_names: Iterable[str], health: Health) -> None:
    """Add grpc.health.v1 and reflection beside the named services, which were added before."""
    health.add_to(server)
    reflection.enable_server_reflection((*service_names, SERVICE_NAME, reflection.SERVICE_NAME), server)


async def serve_until(stopping: asyncio.Event, server: grpc.aio.Server, *, health: Health, grace_s: float) -> None:
    """Serve until told to stop; then take no new calls and give those under way `grace_s` seconds to end."""
    await server.start()
    await stopping.wait()
    await health.drain()
    await stop_server(server, grace_s=grace_s)


async def stop_server(server: grpc.aio.Server, *, grace_s: float | None = None) -> None:
    """Take no new calls, give those under way `grace_s` seconds to end, or none, and wait until they are over.

    gRPC's own `stop` returns before its tasks for the calls have ended. A loop that is closed then cancels them, and
    frees what the core may still write the end of a call to.
    """
    await server.stop(grace_s)
    ending = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_schedule_rpc_coro"]
    if ending:
        await asyncio.wait(ending, timeout=_CALL_ENDS_S)


@asynccontextmanager
async def serve_health(health: Health, address: str) -> AsyncIterator[str]:
    """Serve grpc.health.v1 at host:port, in plaintext, while the block runs; yields where that is.

    Probes have a port of their own because those of orchestrators speak no TLS.

    Raises:
        OSError: The port is taken.
    """
    server = grpc.aio.server(options=_options(PROBE_LIMITS), maximum_concurrent_rpcs=PROBE_LIMITS.max_concurrent_rpcs)
    health.add_to(server)
    await health.begin()
    bound = bind(server, address)
    await server.start()
    try:
        yield bound
    finally:
        await stop_server(server)
