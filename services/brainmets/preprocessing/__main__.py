"""Starts the preprocessing service (`python -m brainmets.preprocessing`) as BRAINMETS_* variables say."""

import asyncio
import os
import sys

from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.imports import uncollected_imports
from brainmets.runtime.logging import configure_logging
from brainmets.runtime.settings import PreprocessingSettings, SettingsError, load_settings
from brainmets.runtime.shutdown import stop_on_signals
from brainmets.runtime.tracing import export_traces


async def _main(settings: PreprocessingSettings) -> None:
    with uncollected_imports():
        from brainmets.preprocessing.app import run_preprocessing  # noqa: PLC0415

    with export_traces("preprocessing", settings.otlp_endpoint):
        await run_preprocessing(settings, stop_on_signals())


def main() -> int:
    """Run until SIGTERM or Ctrl-C; what keeps the process from starting is told in one sentence."""
    try:
        settings = load_settings(PreprocessingSettings, os.environ)
        configure_logging("preprocessing", settings.log_format)
        asyncio.run(_main(settings))
    except (SettingsError, BrainmetsError, OSError) as error:
        sys.stderr.write(f"brainmets preprocessing cannot run: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
