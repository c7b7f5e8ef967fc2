"""How Redis is reached: no repeated commands, clear errors, and only a Redis that loses nothing."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import redis.asyncio

from brainmets.gateway.redis_connection import await_apart, check_redis, connect_redis, redis_errors, tenant_key
from brainmets.imaging.errors import DependencyUnavailableError

DEPLOY = Path(__file__).parents[2] / "deploy"


async def test_fit_redis_passes(client: redis.asyncio.Redis) -> None:
    """Redis 6.2 or later with an append-only file and noeviction is what the gateway needs."""
    await check_redis(client)


async def test_redis_that_evicts_is_refused(client: redis.asyncio.Redis) -> None:
    """A Redis that throws keys away when it is full would lose accepted studies."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(DependencyUnavailableError, match="noeviction"):
            await check_redis(client)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")


async def test_redis_without_append_only_file_is_refused(client: redis.asyncio.Redis) -> None:
    """A Redis that keeps nothing on disk would lose accepted studies."""
    await client.config_set("appendonly", "no")
    try:
        with pytest.raises(DependencyUnavailableError, match="append-only"):
            await check_redis(client)
    finally:
        await client.config_set("appendonly", "yes")
        # Until then a Redis that is killed would lose what later tests write.
        async with asyncio.timeout(30):
            while await rewrites(client):  # noqa: ASYNC110 -- Redis is asked
                await asyncio.sleep(0.02)


async def rewrites(client: redis.asyncio.Redis) -> bool:
    """Return whether the append-only file is being written anew, or is about to."""
    persistence = await client.info("persistence")
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])


async def test_full_redis_is_unavailable(client: redis.asyncio.Redis) -> None:
    """A write that Redis refuses for want of memory is said to be worth retrying."""
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(DependencyUnavailableError), redis_errors():
            await client.set("key", "value")
    finally:
        await client.config_set("maxmemory", "0")


async def test_lost_reply_is_not_repeated() -> None:
    """A command whose reply never came is sent once, and the loss is told."""
    received: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(4096):
            received.append(command)
            if b"INCR" in command:
                break
            writer.write(b"+OK\r\n" * command.count(b"*"))
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect_redis(f"redis://127.0.0.1:{port}") as client:
            with pytest.raises(DependencyUnavailableError), redis_errors():
                await client.incr("key")
    assert b"".join(received).count(b"INCR") == 1


@pytest.mark.parametrize("place", ["compose", "kubernetes/base"])
def test_a_redis_of_ours_has_an_accepted_job_on_its_disk(place: str) -> None:
    """Before its client hears of it; INFO does not tell, and CONFIG is not everywhere allowed."""
    lines = (DEPLOY / place / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)


def test_keys_of_a_tenant_share_a_hash_tag() -> None:
    """All keys of a tenant lie on one node of a clustered Redis."""
    assert tenant_key("default", "job", "1") == "brainmets:{default}:job:1"


async def test_a_cancellation_is_not_lost_in_a_call_that_swallows_it() -> None:
    """Whoever waits is cancelled, although the call ends with an answer at that very moment."""

    async def swallow() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        return "answer"

    waiting = asyncio.create_task(await_apart(swallow()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
