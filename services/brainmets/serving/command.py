"""Owns `brainmets serve`: API, worker and preprocessing as one, until Ctrl-C. It is found by its entry point."""

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from honcho.manager import Manager  # type: ignore[import-untyped]  # published without types

from brainmets.runtime.settings import (
    ApiSettings,
    LogFormat,
    PreprocessingSettings,
    ProcessSettings,
    SettingsError,
    WorkerSettings,
    load_settings,
    variable_name,
)

_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class _Service:
    """A process.

    Attributes:
        name: What its lines in the terminal begin with.
        words: Its words after `python -m`.
        settings: What it reads from its environment.
        ports: Where it listens, counted from the API's own port, as in the embedded stack.
    """

    name: str
    words: tuple[str, ...]
    settings: type[ProcessSettings]
    ports: Mapping[str, int]


_SERVICES = (
    _Service(
        "preprocessing",
        ("brainmets.preprocessing",),
        PreprocessingSettings,
        {"listen_address": 10, "health_address": 82, "metrics_address": 92},
    ),
    _Service(
        "api",
        ("brainmets.gateway", "api"),
        ApiSettings,
        {"listen_address": 0, "health_address": 80, "metrics_address": 90},
    ),
    _Service(
        "worker",
        ("brainmets.gateway", "worker"),
        WorkerSettings,
        {"preprocessing_address": 10, "health_address": 81, "metrics_address": 91},
    ),
)


def serve(*, address: str, redis_url: str, triton_address: str, artifacts: str) -> bool:
    """Run the services, and return whether all ended in order; BRAINMETS_* variables say all that is not given here.

    Args:
        address: host:port of the published contract; the other ports are up to 92 above it, on the same host.
        redis_url: The Redis that runs already.
        triton_address: host:port of the Triton that runs already.
        artifacts: A folder, or the URL of an object store.
    """
    given = {
        "redis_url": redis_url,
        "triton_address": triton_address,
        "artifact_url": artifacts if "://" in artifacts else Path(artifacts).absolute().as_uri(),
    }
    manager = Manager()
    try:
        for service in _SERVICES:
            environment = _environment(service, given, address)
            load_settings(service.settings, environment)
            words = (sys.executable, "-m", *service.words)
            manager.add_process(service.name, shlex.join(words), env=environment)
    except SettingsError as error:
        sys.stderr.write(f"brainmets: {error}\n")
        return False
    if "://" not in artifacts:
        Path(artifacts).mkdir(parents=True, exist_ok=True)
    manager.loop()
    # Else one of them ended by itself, and the others with it.
    return int(manager.returncode) in {_SIGNALLED + signal.SIGINT, _SIGNALLED + signal.SIGTERM}


def _environment(service: _Service, given: Mapping[str, str], address: str) -> dict[str, str]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise SettingsError(f"--address: expected host:port, got {address}")
    addresses = {name: f"{host}:{int(port) + above}" for name, above in service.ports.items()}
    environment = {**os.environ, **{variable_name(name): value for name, value in {**given, **addresses}.items()}}
    if sys.stdout.isatty():
        environment.setdefault(variable_name("log_format"), LogFormat.CONSOLE)
    return environment
