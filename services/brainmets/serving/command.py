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

# Where a process listens beside the API's own port, as in the embedded stack: for work, health and metrics.
_PORTS = {"api": (0, 80, 90), "worker": (None, 81, 91), "preprocessing": (10, 82, 92)}
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class _Service:
    """A process: its words after `python -m`, what it reads from its environment, and that."""

    words: tuple[str, ...]
    settings: type[ProcessSettings]
    environment: Mapping[str, str]


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
    try:
        services = _plan(given, address)
        for service in services.values():
            load_settings(service.settings, service.environment)
    except SettingsError as error:
        sys.stderr.write(f"brainmets: {error}\n")
        return False
    if "://" not in artifacts:
        Path(artifacts).mkdir(parents=True, exist_ok=True)
    manager = Manager()
    for name, service in services.items():
        manager.add_process(name, shlex.join((sys.executable, "-m", *service.words)), env=dict(service.environment))
    manager.loop()
    # Else one of them ended by itself, and the others with it.
    return int(manager.returncode) in {_SIGNALLED + signal.SIGINT, _SIGNALLED + signal.SIGTERM}


def _plan(given: Mapping[str, str], address: str) -> Mapping[str, _Service]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise SettingsError(f"--address: expected host:port, got {address}")
    shared = {**os.environ, **{variable_name(name): value for name, value in given.items()}}
    if sys.stdout.isatty():
        shared.setdefault(variable_name("log_format"), LogFormat.CONSOLE)
    ports = {
        name: [None if above is None else f"{host}:{int(port) + above}" for above in offsets]
        for name, offsets in _PORTS.items()
    }
    shared[variable_name("preprocessing_address")] = str(ports["preprocessing"][0])
    return {
        name: _Service(words, settings, {**shared, **_addresses(*ports[name])})
        for name, words, settings in (
            ("preprocessing", ("brainmets.preprocessing",), PreprocessingSettings),
            ("api", ("brainmets.gateway", "api"), ApiSettings),
            ("worker", ("brainmets.gateway", "worker"), WorkerSettings),
        )
    }


def _addresses(listen: str | None, health: str | None, metrics: str | None) -> dict[str, str]:
    given = {"listen_address": listen, "health_address": health, "metrics_address": metrics}
    return {variable_name(name): address for name, address in given.items() if address is not None}
