"""Owns what a bench measured of one study, as the simulation takes it: how long each part is busy with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

FIGURES = Path(__file__).parents[2] / "docs" / "figures" / "bench.json"
# The default of the service.
NETWORKS = "mean"


@dataclass(frozen=True, slots=True)
class StudyTimes:
    """How long one study keeps each part busy, seconds, when it has the part to itself.

    Attributes:
        sending_s: From the first byte to the job in the queue; nobody of the others is busy meanwhile.
        preparing_s: A preprocessing slot and the worker, until the first tile is there.
        inferring_s: Triton and the worker.
        finishing_s: The worker alone: measuring and writing.
        cores: How many cores all of this keeps busy on average.
    """

    sending_s: float
    preparing_s: float
    inferring_s: float
    finishing_s: float
    cores: float = 0.0

    @property
    def worker_s(self) -> float:
        """How long a worker holds a study that never waits for the others."""
        return self.preparing_s + self.inferring_s + self.finishing_s


@dataclass(frozen=True, slots=True)
class Bench:
    """What `make bench` wrote.

    Attributes:
        machine: Where and when it ran.
        cores: How many it had, for everything together.
        times: Medians of the default networks.
        rates_per_hour: By number of queued studies, how many ended an hour: what a prediction is compared with.
    """

    machine: str
    cores: int
    times: StudyTimes
    rates_per_hour: dict[int, float]

    @classmethod
    def load(cls, path: Path = FIGURES) -> Self:
        """Read a bench's figures (build/bench.json, or those that docs/performance.md tells of)."""
        bench: dict[str, Any] = json.loads(path.read_text())  # Any: JSON
        figures = bench["networks"][NETWORKS]
        stages = figures["stages_s"]
        # It begins with them: "2 cores of ...".
        cores, _, _ = bench["machine"].partition(" ")
        times = StudyTimes(
            sending_s=stages["sending"] + stages["queued"],
            preparing_s=stages["preparing"],
            inferring_s=stages["inferring"],
            finishing_s=stages["measuring"] + stages["writing"],
            cores=sum(figures["cpu_s"].values()) / (sum(stages.values()) - stages["fetching"]),
        )
        rates = {row["queued"]: row["studies_per_hour"] for row in bench.get("load", ())}
        return cls(f"{bench['machine']}, {bench['date']}", int(cores), times, rates)
