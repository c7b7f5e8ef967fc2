"""Owns `brainmets serve`: API, worker and preprocessing as one, until Ctrl-C. It is found by its entry point."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import typer
from rich.console import Console

from brainmets.client.service_options import Service
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
from brainmets.serving import places
from brainmets.serving.places import AddressError, Places
from brainmets.serving.program import Program
from brainmets.serving.readiness import Part, wait_until_ready
from brainmets.serving.running_programs import RunningPrograms
from brainmets.serving.screen import Screen

# What the command line names otherwise than the environment does.
_OPTIONS = {"redis_url": "--redis", "triton_address": "--triton", "artifact_url": "--artifacts"}


@dataclass(frozen=True, slots=True)
class _Process:
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


# Each needs those before it.
_PROCESSES = (
    _Process(
        "preprocessing",
        ("brainmets.preprocessing",),
        PreprocessingSettings,
        {
            "listen_address": places.PREPROCESSING,
            "health_address": places.PREPROCESSING_HEALTH,
            "metrics_address": places.PREPROCESSING_METRICS,
        },
    ),
    _Process(
        "api",
        ("brainmets.gateway", "api"),
        ApiSettings,
        {"listen_address": 0, "health_address": places.API_HEALTH, "metrics_address": places.API_METRICS},
    ),
    _Process(
        "worker",
        ("brainmets.gateway", "worker"),
        WorkerSettings,
        {
            "preprocessing_address": places.PREPROCESSING,
            "health_address": places.WORKER_HEALTH,
            "metrics_address": places.WORKER_METRICS,
        },
    ),
)


def serve(*, address: str, redis_url: str, triton_address: str, artifacts: str) -> bool:
    """Run the services, and return whether all ended in order; BRAINMETS_* variables say all that is not given here.

    Args:
        address: host:port of the published contract; the other ports are up to 92 above it, on the same host.
        redis_url: The Redis that runs already.
        triton_address: host:port of the Triton that runs already.
        artifacts: A folder, or the URL of an object store.

    Raises:
        typer.BadParameter: The services cannot run with what is given.
    """
    given = {
        "redis_url": redis_url,
        "triton_address": triton_address,
        "artifact_url": artifacts if "://" in artifacts else Path(artifacts).absolute().as_uri(),
    }
    try:
        here = Places.starting_at(address)
    except AddressError as error:
        raise typer.BadParameter(str(error), param_hint="'--address'") from None
    programs = [
        Program(process.name, (sys.executable, "-m", *process.words), _environment(process, given, here))
        for process in _PROCESSES
    ]
    if "://" not in artifacts:
        Path(artifacts).mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    screen = Screen([program.name for program in programs], keeps_back=sys.stdout.isatty())

    async def tell_when_ready() -> None:
        await wait_until_ready(_parts(here, redis_url, triton_address), console)
        next_words = Service(address=here.called).command("segment", "STUDY")
        words = f"Ready at {address}. Ctrl-C stops it; next: {next_words}"
        console.print(words, style="bold green", markup=False, highlight=False, soft_wrap=True)
        screen.open()

    async def run() -> str | None:
        async with RunningPrograms([[program] for program in programs], screen.show) as running:
            telling = asyncio.create_task(tell_when_ready())
            ended = await running.wait()
            telling.cancel()
            return ended

    if asyncio.run(run()) is None:
        console.print("Stopped. Jobs that have not ended go on when it is started again.")
        return True
    screen.show_kept()
    console.print("brainmets: one of the services ended, and the others with it; see its last lines above", style="red")
    return False


def _environment(process: _Process, given: Mapping[str, str], here: Places) -> dict[str, str]:
    """Return what a process is started with, which it is sure to take."""
    addresses = {name: here.at(above) for name, above in process.ports.items()}
    environment = {**os.environ, **{variable_name(name): value for name, value in {**given, **addresses}.items()}}
    if sys.stdout.isatty():
        environment.setdefault(variable_name("log_format"), LogFormat.CONSOLE)
    try:
        load_settings(process.settings, environment)
    except SettingsError as error:
        sentence = str(error)
        for name, option in _OPTIONS.items():
            sentence = sentence.replace(variable_name(name), option)
        raise typer.BadParameter(sentence) from None
    return environment


def _parts(here: Places, redis_url: str, triton_address: str) -> tuple[Part, ...]:
    """Return what must serve, in the order in which it can."""
    # Without what may stand before it: a password.
    redis = urlsplit(redis_url).netloc.rpartition("@")[2]
    preprocessing, api, worker = map(here.at, (places.PREPROCESSING_HEALTH, places.API_HEALTH, places.WORKER_HEALTH))
    return (
        Part("preprocessing to start", preprocessing, "brainmets.internal.v1.PreprocessingService"),
        Part(f"the API to reach Redis at {redis}", api, "brainmets.v1.SegmentationService"),
        Part("the worker to start", worker, "worker"),
        Part(f"Triton at {triton_address} to load its networks", worker, "inference"),
    )
