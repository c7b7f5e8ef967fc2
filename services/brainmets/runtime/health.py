"""Owns what a process says about itself over grpc.health.v1."""

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME: str = health.SERVICE_NAME
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of a process and of its named parts.

    "" is the process itself, which serves while it can answer; that is what a liveness probe asks. A part is
    a gRPC service, or a thing like "inference" that somebody may want to ask for; it does not serve until it
    is said to.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = frozenset(parts)
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing from its stubs

    async def begin(self) -> None:
        """Say of every part that it does not serve yet."""
        for part in self._parts:
            await self._servicer.set(part, _NOT_SERVING)

    async def note(self, part: str, *, serving: bool) -> None:
        """Tell whether a part serves now; after `drain` nothing does.

        Raises:
            KeyError: The process has no such part.
        """
        if part not in self._parts:
            raise KeyError(part)
        await self._servicer.set(part, _SERVING if serving else _NOT_SERVING)

    async def drain(self) -> None:
        """Say for good that nothing serves, so that callers go elsewhere while calls under way end."""
        await self._servicer.enter_graceful_shutdown()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer grpc.health.v1 on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
