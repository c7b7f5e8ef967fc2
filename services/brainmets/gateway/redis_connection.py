"""Owns how the gateway reaches Redis: connections, scripts, and what a Redis in use must be like."""

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.exceptions
import redis.retry
from redis.backoff import NoBackoff

from brainmets.imaging.errors import DependencyUnavailableError
from brainmets.runtime.metric_contract import TURNAROUND_BUCKETS_S

# A dead Redis is noticed in this time. It is above every blocking read (MAX_BLOCK_S).
SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
# Longest blocking read: short enough that an expired lease, which wakes nobody, is found soon after.
MAX_BLOCK_S = 1.0
# A process needs one connection for each call in flight and each watcher; Redis itself allows 10,000 in all.
MAX_CONNECTIONS = 1024
# Streams with XAUTOCLAIM.
OLDEST_VERSION = (6, 2)
# A Redis that works but refuses to write, or is busy; bare, or quoted in the answer to a script. Every other
# plain error answer is a fault of ours. (Refusals of other kinds have exception classes of their own.)
_REFUSAL = re.compile(r"(^|-)(OOM|MISCONF|NOREPLICAS|READONLY|BUSY)\b")


Answer = TypeVar("Answer")


def connect_redis(url: str) -> redis.asyncio.Redis:
    """Return a client that never repeats a command by itself.

    redis-py's default retries turn one lost reply into two state changes. Here a lost reply is an error, and
    the caller may repeat the whole transition, because each is one idempotent script.
    """
    return redis.asyncio.Redis.from_url(
        url,
        # Under RESP3 redis-py hands out pooled connections that the server has closed.
        protocol=2,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        max_connections=MAX_CONNECTIONS,
    )


def connect_redis_blocking(url: str, *, timeout_s: float) -> redis.Redis:
    """Return a client like `connect_redis`'s for a thread of its own, each call bounded by `timeout_s`."""
    return redis.Redis.from_url(
        url,
        protocol=2,  # as above
        retry=redis.retry.Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=1,
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn redis-py's errors about an unreachable or refusing Redis into ours.

    Raises:
        DependencyUnavailableError: Redis cannot be reached or does not take the command now.
    """
    try:
        yield
    except redis.exceptions.RedisError as error:
        if type(error) is redis.exceptions.ResponseError and not _REFUSAL.search(str(error)):
            raise
        raise _unavailable(error) from error


def _unavailable(error: redis.exceptions.RedisError) -> DependencyUnavailableError:
    return DependencyUnavailableError(
        "Redis is not available",
        expected="an answer from Redis",
        got=type(error).__name__,
        remedy="retry; if it lasts, tell the operator",
    )


async def await_apart(call: Coroutine[Any, Any, Answer]) -> Answer:  # Any: nothing is sent into a coroutine
    """Return what a call answers, awaited in a task of its own.

    Under Python 3.11 a cancellation that comes together with Redis's reply may get lost inside redis-py. Where nothing
    would notice, a caller waits with this instead: its own wait cannot lose it.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return task.result()


async def check_redis(client: redis.asyncio.Redis) -> None:
    """Refuse a Redis that would lose jobs: too old, without an append-only file, or one that evicts keys.

    Raises:
        DependencyUnavailableError: It cannot be reached or is not fit.
    """
    with redis_errors():
        info: dict[str, Any] = await client.info()  # Any: redis-py's own type of INFO's values
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        raise _unfit("version 6.2 or later", got=version, remedy="upgrade Redis")
    if not info["aof_enabled"]:
        raise _unfit("an append-only file", got="appendonly no", remedy="set appendonly yes")
    if info["maxmemory_policy"] != "noeviction":
        raise _unfit(
            "maxmemory-policy noeviction",
            got=str(info["maxmemory_policy"]),
            remedy="set maxmemory-policy noeviction",
        )


def _unfit(expected: str, *, got: str, remedy: str) -> DependencyUnavailableError:
    return DependencyUnavailableError(
        "Redis would lose accepted studies",
        expected=expected,
        got=got,
        remedy=f"{remedy} on the Redis server",
    )


def tenant_key(tenant: str, *parts: str) -> str:
    """Return a key of a tenant; all of them share one hash tag, so one node of a cluster holds them."""
    return ":".join((f"brainmets:{{{tenant}}}", *parts))


@cache
def read_script(name: str) -> str:
    """Return the source of one of the scripts in `lua/`, with the shared part before it."""
    folder = files("brainmets.gateway.lua")
    # The metrics contract says where a turnaround is counted; a line of its own, so that no script asks for it.
    bounds = (
        f"local TURNAROUND_BOUNDS_MS = {{{', '.join(f'{bound_s * 1000:.0f}' for bound_s in TURNAROUND_BUCKETS_S)}}}"
    )
    return "\n".join((bounds, *((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", name))))


class TenantScripts:
    """Runs the scripts of `lua/`, and reads the hashes they write, on one client."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def read_hash(self, tenant: str, *parts: str) -> dict[bytes, bytes]:
        """Return all fields of one of a tenant's hashes, none when it does not exist.

        Raises:
            DependencyUnavailableError: Redis cannot be reached.
        """
        with redis_errors():
            fields = await self._client.hgetall(tenant_key(tenant, *parts))
        # redis-py's type allows for clients that decode; connect_redis's do not.
        return cast("dict[bytes, bytes]", fields)

    async def run(self, name: str, tenant: str, *args: str | bytes | int) -> list[Any]:  # Any: Redis's reply tree
        """Run script `name` for a tenant and return its reply.

        Raises:
            DependencyUnavailableError: Redis cannot be reached; whether the script ran is not known.
        """
        script = self._client.register_script(read_script(name))
        with redis_errors():
            return list(await script(keys=[tenant_key(tenant)], args=list(args)))
