"""Owns the stack's processes: what each is started with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmets.serving.program import Program
from local.layout import LOGS, MODEL_REPOSITORY, PYTHON, REDIS_SERVER, STATE
from local.ports import HOST, Ports
from local.triton_server import triton_environment, triton_words

# The folders of a place, as words of a command line name them.
FOLDERS = ("state", "logs", "model_repository")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one stack lives.

    Attributes:
        ports: Where its parts listen.
        state: Folder of its jobs and artefacts.
        logs: Folder of its processes' logs.
        model_repository: What its Triton loads.
    """

    ports: Ports
    state: Path = STATE
    logs: Path = LOGS
    model_repository: Path = MODEL_REPOSITORY

    @property
    def api_address(self) -> str:
        """host:port of the published contract."""
        return f"{HOST}:{self.ports.api}"

    def make_folders(self) -> None:
        """Make the folders that the processes write to."""
        for folder in (self.state / "redis", self.state / "artifacts", self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def log(self, process_name: str) -> Path:
        """Return where a process's log is."""
        return self.logs / f"{process_name}.log"


def stack_processes(place: Place) -> tuple[Program, ...]:
    """Return the programs of a stack, whoever needs another after it; at their start they wait for each other."""
    ports = place.ports
    inherited = dict(os.environ)
    return (
        Program("redis", _redis_words(place), inherited, place.log("redis")),
        Program(
            "triton",
            triton_words(ports, place.model_repository, otlp_url=inherited.get("BRAINMETS_TRITON_OTLP_URL", "")),
            triton_environment(inherited),
            place.log("triton"),
        ),
        _service(place, "preprocessing", ("brainmets.preprocessing",), _preprocessing_settings(place)),
        _service(place, "api", ("brainmets.gateway", "api"), _api_settings(place)),
        _service(place, "worker", ("brainmets.gateway", "worker"), _worker_settings(place)),
    )


# glibc gives a volume's memory back to the kernel when a study is done and fetches it, page by page, for the next one:
# a tenth of a second a study. With one heap that is only trimmed from 1 GiB on, it is kept (mallopt(3)).
_KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1024**3),
    "MALLOC_TRIM_THRESHOLD_": str(1024**3),
    # In pages of 2 MiB: some 0.02 s a study (by hand, four starts in turns).
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def _redis_words(place: Place) -> tuple[str, ...]:
    settings = {
        "--port": str(place.ports.redis),
        "--bind": HOST,
        "--dir": str(place.state / "redis"),
        # An accepted study survives Redis's death, and is never evicted for another.
        "--appendonly": "yes",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }
    return (str(REDIS_SERVER), *(word for setting in settings.items() for word in setting))


def _service(place: Place, name: str, words: tuple[str, ...], settings: Mapping[str, str]) -> Program:
    # What a person has set for all of them stays, but for what the parts must agree on.
    environment = {**_KEPT_MEMORY, **os.environ, **settings}
    return Program(name, (str(PYTHON), "-m", *words), environment, place.log(name))


def _preprocessing_settings(place: Place) -> dict[str, str]:
    ports = place.ports
    return {
        "BRAINMETS_LISTEN_ADDRESS": f"{HOST}:{ports.preprocessing}",
        "BRAINMETS_HEALTH_ADDRESS": f"{HOST}:{ports.preprocessing_health}",
        "BRAINMETS_METRICS_ADDRESS": f"{HOST}:{ports.preprocessing_metrics}",
        "BRAINMETS_ARTIFACT_URL": (place.state / "artifacts").as_uri(),
    }


def _gateway_settings(place: Place) -> dict[str, str]:
    ports = place.ports
    return {
        "BRAINMETS_REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "BRAINMETS_TRITON_ADDRESS": f"{HOST}:{ports.triton}",
        "BRAINMETS_ARTIFACT_URL": (place.state / "artifacts").as_uri(),
    }


def _api_settings(place: Place) -> dict[str, str]:
    ports = place.ports
    return {
        **_gateway_settings(place),
        "BRAINMETS_LISTEN_ADDRESS": f"{HOST}:{ports.api}",
        "BRAINMETS_HEALTH_ADDRESS": f"{HOST}:{ports.api_health}",
        "BRAINMETS_METRICS_ADDRESS": f"{HOST}:{ports.api_metrics}",
    }


def _worker_settings(place: Place) -> dict[str, str]:
    ports = place.ports
    return {
        **_gateway_settings(place),
        "BRAINMETS_PREPROCESSING_ADDRESS": f"{HOST}:{ports.preprocessing}",
        "BRAINMETS_HEALTH_ADDRESS": f"{HOST}:{ports.worker_health}",
        "BRAINMETS_METRICS_ADDRESS": f"{HOST}:{ports.worker_metrics}",
        "BRAINMETS_TRITON_SHARES_MEMORY": "true",
    }
