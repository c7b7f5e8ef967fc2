"""What a process depends on is looked at, each for itself, and what is needed decides whether work is taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import pytest
import redis.asyncio

from brainmets.gateway.readiness import (
    Dependency,
    preprocessing_dependency,
    redis_dependency,
    store_dependency,
    triton_dependency,
    watch_readiness,
)
from brainmets.gateway.triton_connection import connect_triton
from brainmets.imaging.errors import DependencyUnavailableError
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.grpc_client import open_channel
from brainmets.runtime.grpc_server import serve_health
from brainmets.runtime.health import Health
from redis_server import RedisServer

NOWHERE = "127.0.0.1:1"
Look = Callable[[], Awaitable[None]]


@pytest.fixture
async def nobody() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a port where nobody listens."""
    async with open_channel(NOWHERE) as channel:
        yield channel


async def test_redis_and_store_answer(client: redis.asyncio.Redis, tmp_path: Path) -> None:
    """The real ones do."""
    await redis_dependency(client).look()
    await store_dependency(ArtifactStore.open(tmp_path.as_uri())).look()


async def test_a_redis_that_is_gone_does_not_answer(client: redis.asyncio.Redis, redis_server: RedisServer) -> None:
    """Until it is back."""
    redis_server.kill()
    try:
        with pytest.raises(DependencyUnavailableError):
            await redis_dependency(client).look()
    finally:
        redis_server.start()
    await redis_dependency(client).look()


async def test_a_preprocessing_that_serves_answers() -> None:
    """Over the health service that all of our servers have."""
    async with serve_health(Health(), "127.0.0.1:0") as address, open_channel(address) as channel:
        await preprocessing_dependency(channel).look()


async def test_a_preprocessing_that_drains_does_not() -> None:
    """It takes no study any more."""
    health = Health()
    async with serve_health(health, "127.0.0.1:0") as address, open_channel(address) as channel:
        await health.drain()
        with pytest.raises(DependencyUnavailableError, match="NOT_SERVING"):
            await preprocessing_dependency(channel).look()


async def test_servers_that_are_not_there_do_not_answer(nobody: grpc.aio.Channel) -> None:
    """Neither preprocessing nor Triton."""
    with pytest.raises(DependencyUnavailableError):
        await preprocessing_dependency(nobody).look()
    async with connect_triton(NOWHERE) as triton:
        with pytest.raises(DependencyUnavailableError):
            await triton_dependency(triton).look()


async def refuse() -> None:
    """Be gone."""
    raise DependencyUnavailableError("m", expected="e", got="g", remedy="r")


async def answer() -> None:
    """Be there."""


@pytest.mark.parametrize(
    ("needed", "other", "ready"),
    [(answer, refuse, True), (refuse, answer, False), (answer, answer, True)],
)
async def test_what_is_needed_decides(needed: Look, other: Look, *, ready: bool) -> None:
    """The others are told all the same."""
    noted: asyncio.Queue[bool] = asyncio.Queue()
    told: dict[str, bool] = {}
    dependencies = (Dependency("store", needed), Dependency("triton", other, needed=False))
    watching = asyncio.create_task(watch_readiness(dependencies, note=noted.put, on_look=told.__setitem__))
    assert await noted.get() is ready
    watching.cancel()
    assert told == {"store": needed is answer, "triton": other is answer}
