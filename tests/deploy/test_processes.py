"""Every process of the stack is told where the others are, and listens on loopback alone."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from brainmets.runtime.settings import ApiSettings, PreprocessingSettings, WorkerSettings, load_settings
from brainmets.serving.program import Program
from local.layout import ROOT
from local.ports import HOST, Ports
from local.processes import Place, stack_processes
from local.stack import Record

PLACE = Place(Ports.starting_at(20_000), state=Path("/state"), logs=Path("/logs"))
PROCESSES = {process.name: process for process in stack_processes(PLACE)}


def environment_of(name: str) -> Mapping[str, str]:
    """Return a process's environment."""
    return PROCESSES[name].environment


def test_the_services_settings_are_sound() -> None:
    """Each reads its own from the environment it is started in."""
    preprocessing = load_settings(PreprocessingSettings, environment_of("preprocessing"))
    api = load_settings(ApiSettings, environment_of("api"))
    worker = load_settings(WorkerSettings, environment_of("worker"))
    assert worker.preprocessing_address == preprocessing.listen_address
    assert api.redis_url == worker.redis_url
    assert api.triton_address == worker.triton_address == f"{HOST}:{PLACE.ports.triton}"
    assert api.artifact_url == worker.artifact_url == preprocessing.artifact_url


def test_the_default_addresses_are_the_services_own() -> None:
    """Whoever starts a service by hand meets the stack's ports."""
    api = load_settings(ApiSettings, {"BRAINMETS_ARTIFACT_URL": "file:///artifacts"})
    assert api.listen_address == Place(Ports.from_environment({})).api_address


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_nothing_listens_beyond_loopback(process: Program) -> None:
    """No word and no setting names another host."""
    own = {name: text for name, text in process.environment.items() if name.endswith("_ADDRESS")}
    hosts = re.findall(r"(?:\d{1,3}\.){3}\d{1,3}", " ".join([*process.words, *own.values()]))
    assert set(hosts) <= {HOST}


def test_triton_can_be_told_to_load_a_model_again() -> None:
    """Without it a dead backend process stays dead."""
    assert "--model-control-mode=explicit" in PROCESSES["triton"].words


def test_redis_keeps_what_it_accepted() -> None:
    """It writes each change down, and forgets nothing for lack of memory."""
    words = " ".join(PROCESSES["redis"].words)
    assert "--appendonly yes" in words
    assert "--maxmemory-policy noeviction" in words


def test_a_record_of_a_dead_supervisor_is_no_running_stack(tmp_path: Path) -> None:
    """Its process number may belong to anybody by now."""
    place = Place(PLACE.ports, state=tmp_path)
    record = Record.begin(place, pid=1)
    assert record.find_running() is None


@pytest.mark.parametrize("named", ["build/own", "/other", ""])
def test_other_networks_are_served_when_named(named: str) -> None:
    """Triton loads them; without a name it serves those of this repository."""
    code = "from local.layout import MODEL_REPOSITORY; print(MODEL_REPOSITORY)"
    inherited = {**os.environ, "PYTHONPATH": "deploy:services", "BRAINMETS_MODEL_REPOSITORY": named}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=inherited, capture_output=True, check=True)
    assert Path(told.stdout.decode().strip()) == ROOT / (named or "model_repository")
