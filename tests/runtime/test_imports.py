"""What a process imports is not searched for garbage, neither meanwhile nor later."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from brainmets.runtime.imports import uncollected_imports


@pytest.fixture
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("error", [None, ImportError])
def test_nothing_is_searched_meanwhile_or_later(error: type[Exception] | None) -> None:
    """Also when an import failed."""
    imported = ModuleType("imported")
    try:
        with uncollected_imports():
            assert not gc.isenabled()
            if error:
                raise error
    except ImportError:
        pass
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert not any(found is imported for found in gc.get_objects()), "it is searched still"


# A process that ends once everything is imported, and how much of that is searched no more.
START = """
import gc, runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__")
except SystemExit as end:
    assert end.code == 1
print(gc.get_freeze_count())
"""
# No address of this machine: preprocessing cannot listen there. The gateway's processes end for a URL that is none.
NOWHERE = "192.0.2.1:1"
MOST_OF_THEM = 100_000


@pytest.mark.parametrize(
    "words", [("brainmets.gateway", "api"), ("brainmets.gateway", "worker"), ("brainmets.preprocessing",)]
)
def test_each_process_imports_so(words: tuple[str, ...], tmp_path: Path) -> None:
    """What it runs, and not only what reads its settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BRAINMETS_")}
    environment |= {f"BRAINMETS_{part}_ADDRESS": NOWHERE for part in ("LISTEN", "HEALTH", "METRICS")}
    environment |= {"BRAINMETS_ARTIFACT_URL": tmp_path.as_uri(), "BRAINMETS_REDIS_URL": "none"}
    command = (sys.executable, "-c", START, *words)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot run" in ended.stderr
    assert int(ended.stdout.splitlines()[-1]) > MOST_OF_THEM
