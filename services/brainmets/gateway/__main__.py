"""Starts one of the gateway's processes (`python -m brainmets.gateway api|worker`) as BRAINMETS_* variables say."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine

from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.imports import uncollected_imports
from brainmets.runtime.logging import configure_logging
from brainmets.runtime.settings import ApiSettings, SettingsError, WorkerSettings, load_settings
from brainmets.runtime.shutdown import stop_on_signals
from brainmets.runtime.tracing import export_traces

USAGE = "usage: python -m brainmets.gateway api|worker\n"
# What a shell expects of a wrong command line.
_WRONG_USAGE = 2


async def _run_api() -> None:
    # Each process imports what is its own: the API starts without what images are measured with.
    with uncollected_imports():
        from brainmets.gateway.api import run_api  # noqa: PLC0415

    settings = load_settings(ApiSettings, os.environ)
    configure_logging("gateway", settings.log_format)
    with export_traces("gateway", settings.otlp_endpoint):
        await run_api(settings, stop_on_signals())


async def _run_worker() -> None:
    with uncollected_imports():
        from brainmets.gateway.crew import run_worker  # noqa: PLC0415

    settings = load_settings(WorkerSettings, os.environ)
    configure_logging("worker", settings.log_format)
    with export_traces("worker", settings.otlp_endpoint):
        await run_worker(settings, stop_on_signals())


_PROCESSES: dict[str, Callable[[], Coroutine[object, object, None]]] = {"api": _run_api, "worker": _run_worker}


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or Ctrl-C; what keeps the process from starting is told in one sentence."""
    if len(arguments) != 1 or arguments[0] not in _PROCESSES:
        sys.stderr.write(USAGE)
        return _WRONG_USAGE
    (name,) = arguments
    try:
        asyncio.run(_PROCESSES[name]())
    except (SettingsError, BrainmetsError, OSError) as error:
        sys.stderr.write(f"brainmets {name} cannot run: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
