"""Owns the examination of a machine that would call the service: what is wrong with it, and how to mend that."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING

from brainmets.client.errors import MissingExtraError, ServiceError
from brainmets.client.installed_commands import COMMANDS_GROUP, installed_command

if TYPE_CHECKING:
    from pathlib import Path

    from brainmets.client.aio import AsyncClient

# Results of a hundred studies.
ENOUGH_BYTES = 1 << 30
CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        found: What was there.
        remedy: What to do; empty where nothing need be done.
        needed: Whether the client cannot work without it.
    """

    name: str
    found: str
    remedy: str = ""
    needed: bool = True

    @property
    def fails(self) -> bool:
        """Whether the client cannot work."""
        return bool(self.remedy) and self.needed


async def examine(client: AsyncClient, address: str, *, output: Path) -> tuple[Check, ...]:
    """Look at this machine, the way to the service, the service and its networks.

    Args:
        client: Calls the service at the address.
        address: host:port of the gateway.
        output: Where results would be written.
    """
    reached = await _check_way(address)
    service = () if reached.fails else await _check_service(client)
    return (_check_packages(), *_check_extras(), _check_space(output), reached, *service)


def _check_packages() -> Check:
    names = ("brainmets", "grpcio", "protobuf")
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Client", ", ".join([python, *(f"{name} {version(name)}" for name in names)]))


def _check_extras() -> tuple[Check, ...]:
    return tuple(_check_extra(name) for name in sorted(entry_points(group=COMMANDS_GROUP).names))


def _check_extra(name: str) -> Check:
    try:
        installed_command(name)
    except MissingExtraError as error:
        return Check(f"brainmets {name}", "not all packages are installed", str(error), needed=False)
    return Check(f"brainmets {name}", "installed")


def _check_space(output: Path) -> Check:
    # The folder need not be there yet: its first parent that is says where it would lie.
    existing = next(folder for folder in (output.absolute(), *output.absolute().parents) if folder.is_dir())
    free_bytes = shutil.disk_usage(existing).free
    found = f"{free_bytes / 1e9:.1f} GB free for results in {output}"
    return Check("Disk", found, "" if free_bytes >= ENOUGH_BYTES else "make room, or name another --output")


async def _check_way(address: str) -> Check:
    host, _, port = address.rpartition(":")
    start_s = time.perf_counter()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        return Check(
            "Connection",
            f"none to {address}: {_why(error)}",
            "start a service with `make up`, or name another with --address",
        )
    writer.close()
    return Check("Connection", f"{address} is reached in {1000 * (time.perf_counter() - start_s):.0f} ms")


def _why(error: OSError) -> str:
    # asyncio writes words of its own into a refused connection, the resolver good ones under numbers below 0.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or "no answer"


async def _check_service(client: AsyncClient) -> tuple[Check, ...]:
    start_s = time.perf_counter()
    try:
        models = await client.models()
    except ServiceError as error:
        return (
            Check(
                "Service", error.message, "see that a brainmets gateway listens there, and speaks TLS or not as you do"
            ),
        )
    answered = Check("Service", f"answers in {1000 * (time.perf_counter() - start_s):.0f} ms")
    networks = (
        Check(
            f"Network {model.model_name}",
            f"version {model.model_version}, {'ready' if model.ready else 'not ready'}",
            "" if model.ready else "see the service's Triton log: it has not loaded this network",
        )
        for model in models
    )
    return (answered, *networks)
