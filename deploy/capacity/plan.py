"""Owns the plan: the fewest of each part with which a rate of studies keeps its turnaround although a zone is lost."""

import random
from dataclasses import dataclass, replace
from math import ceil

from capacity.measurement import Bench, StudyTimes
from capacity.simulation import PREPARING_SLOTS, STUDIES_IN_FLIGHT, Installation, Outcome, Scenario, simulate

# The objective of turnaround (docs/runbooks.md); here for the studies that are sent after a zone was lost.
TURNAROUND_S = 300.0
QUANTILE = 0.95
# Nobody plans for parts that are never idle: what is left after the loss may be busy for this share of the time.
BUSIEST_FRACTION = 0.85
# Long enough for a queue that grows to be seen; the zone is lost in the middle and does not come back.
HORIZON_S = 3600.0
# Studies differ in size and number of sequences; how much is a guess until a hospital's own are measured.
SPREAD = 0.5
ZONES = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate needs.

    Attributes:
        installation: How many of each.
        p95_s: Turnaround of 95 % of the studies sent after the loss, seconds.
    """

    installation: Installation
    p95_s: float


def plan(per_hour: int, times: StudyTimes, *, gpu_speedup: float) -> Plan:
    """Return the smallest installation that bears a rate with a lost zone."""
    busy = replace(times, inferring_s=times.inferring_s / gpu_speedup)
    installation = Installation(
        workers=_bear(per_hour, max(busy.inferring_s, busy.worker_s / STUDIES_IN_FLIGHT)),
        preprocessing=_bear(per_hour, busy.preparing_s / PREPARING_SLOTS),
        tritons=_bear(per_hour, busy.inferring_s),
    )
    while (p95_s := _turnaround_s(installation, per_hour, times, gpu_speedup=gpu_speedup)) > TURNAROUND_S:
        # A worker who waits for another part is busy as well: they are what is short first.
        installation = Installation(installation.workers + ZONES, installation.preprocessing, installation.tritons)
    return Plan(installation, p95_s)


def _bear(per_hour: int, busy_s: float) -> int:
    """Return how many bear a rate when one zone's share of them is gone."""
    left = ceil(per_hour * busy_s / 3600.0 / BUSIEST_FRACTION)
    # Of n in Z zones, ceil(n / Z) go with one; in two zones as many as are left.
    return next(count for count in range(2, 2 * left + 3) if count - ceil(count / ZONES) >= left)


def _turnaround_s(installation: Installation, per_hour: int, times: StudyTimes, *, gpu_speedup: float) -> float:
    loss_s = HORIZON_S / 2
    scenario = Scenario(
        draw_arrivals(per_hour), times, gpu_speedup=gpu_speedup, spread=SPREAD, loss_s=loss_s, zones=ZONES
    )
    return simulate(installation, scenario).turnaround_s(QUANTILE, sent_from_s=loss_s)


def draw_arrivals(per_hour: int) -> tuple[float, ...]:
    """Return when studies are sent within the horizon: independently of each other, at a constant rate (Poisson)."""
    draw = random.Random(0)  # noqa: S311 -- draws times, guards nothing
    arrivals_s, now_s = [], draw.expovariate(per_hour / 3600.0)
    while now_s < HORIZON_S:
        arrivals_s.append(now_s)
        now_s += draw.expovariate(per_hour / 3600.0)
    return tuple(arrivals_s)


def predict_drain(queued: int, bench: Bench) -> Outcome:
    """Return what becomes of studies that are sent at once to one of each on the bench's few cores, as it does."""
    return simulate(Installation(1, 1, 1), Scenario(queued * (0.0,), bench.times, shared_cores=bench.cores))
