"""Owns the REST backend on loopback, in front of a gateway, and what calls it as its users do."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from brainmets.client import AsyncClient
from brainmets.rest.app import build_app
from brainmets.rest.command import Server

# Three heads of `study_bytes` are more.
MAX_STUDY_BYTES = 500_000


@asynccontextmanager
async def running_backend(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve it on a free port, in front of a gateway, and call it."""
    async with AsyncClient(address) as client:
        app = build_app(client, host="127.0.0.1", max_study_bytes=MAX_STUDY_BYTES)
        server = Server(app)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False) as http:
                yield http
                server.should_exit = True
                await serving
