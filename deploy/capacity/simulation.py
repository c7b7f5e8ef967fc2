"""Owns the simulation of an installation: studies come, wait, are worked off, and a zone is lost.

A study needs one of a worker's places from its claim to its end; within that, a preprocessing slot while it is
prepared, and a worker's turn and a Triton while it is inferred, as in the gateway's workflow. Who finds all slots of a
part busy waits for the next free one, in the order of coming. Where all parts run on the same cores, as in the bench,
what is under way beyond what they bear goes slower. When a zone is lost, what ran in it is begun anew once its lease
has run out, before studies that wait, and the rest of the run has to do with what is left.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import simpy

from capacity.measurement import StudyTimes

# A worker that went silent loses its job after this (BRAINMETS_LEASE_S), seconds.
LEASE_S = 10.0
# Studies that a worker holds (BRAINMETS_STUDIES_IN_FLIGHT); one of them is inferred.
STUDIES_IN_FLIGHT = 2
# Studies that one preprocessing pod prepares at the measured speed: its limit of four cores is twice the bench's two.
PREPARING_SLOTS = 2
_LOSS, _AGAIN, _FIRST = 0, 1, 2
# Less is left of a step by rounding alone.
_INSTANT_S = 1e-9

Events = Generator[simpy.Event, Any, None]  # Any: what an event brings


@dataclass(frozen=True, slots=True)
class Installation:
    """How many there are of each."""

    workers: int
    preprocessing: int
    tritons: int

    def lost(self, zones: int) -> "Installation":
        """Return what goes with one of so many zones, over which each kind is spread."""
        return Installation(*(ceil(count / zones) for count in (self.workers, self.preprocessing, self.tritons)))

    def without(self, lost: "Installation") -> "Installation":
        """Return what is left."""
        return Installation(
            self.workers - lost.workers, self.preprocessing - lost.preprocessing, self.tritons - lost.tritons
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to an installation.

    Attributes:
        arrivals_s: When studies are sent, rising, seconds.
        times: How long a study keeps each part busy.
        gpu_speedup: How much faster than measured a Triton infers.
        spread: Coefficient of variation of a study's times: studies differ in size. 0: all are alike.
        loss_s: When a zone is lost; None: never.
        zones: Over how many zones everything is spread.
        shared_cores: On how many cores all parts run together; None: each part has its own.
    """

    arrivals_s: tuple[float, ...]
    times: StudyTimes
    gpu_speedup: float = 1.0
    spread: float = 0.0
    loss_s: float | None = None
    zones: int = 2
    shared_cores: int | None = None


@dataclass(slots=True)
class Outcome:
    """When studies were sent and ended, seconds, in the order of their ends."""

    ended: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rate_per_hour(self) -> float:
        """Studies an hour, from the first sent to the last end."""
        return 3600.0 * len(self.ended) / (self.ended[-1][1] - min(sent_s for sent_s, _ in self.ended))

    def turnaround_s(self, quantile: float, *, sent_from_s: float = 0.0) -> float:
        """Return a quantile of the time from sending to end, of studies that were sent from some time on."""
        turnarounds_s = sorted(end_s - sent_s for sent_s, end_s in self.ended if sent_s >= sent_from_s)
        return turnarounds_s[min(len(turnarounds_s) - 1, ceil(quantile * len(turnarounds_s)))]


def simulate(installation: Installation, scenario: Scenario) -> Outcome:
    """Run a scenario until its last study has ended."""
    return _Run(installation, scenario).outcome


class _Run:
    """One simulation; `outcome` is whole once it is constructed."""

    def __init__(self, installation: Installation, scenario: Scenario) -> None:
        self.outcome = Outcome()
        self._scenario = scenario
        self._random = random.Random(0)  # noqa: S311 -- draws times, guards nothing
        self._world = simpy.Environment()
        self._cores = _Cores(self._world, scenario.shared_cores, a_study_keeps_busy=scenario.times.cores)
        self._places = simpy.PreemptiveResource(self._world, STUDIES_IN_FLIGHT * installation.workers)
        self._turns = simpy.PreemptiveResource(self._world, installation.workers)
        self._preparing = simpy.PreemptiveResource(self._world, PREPARING_SLOTS * installation.preprocessing)
        self._tritons = simpy.PreemptiveResource(self._world, installation.tritons)
        for sent_s in scenario.arrivals_s:
            self._world.process(self._study(sent_s))
        if scenario.loss_s is not None:
            lost = installation.lost(scenario.zones)
            for part, count in (
                (self._places, STUDIES_IN_FLIGHT * lost.workers),
                (self._turns, lost.workers),
                (self._preparing, PREPARING_SLOTS * lost.preprocessing),
                (self._tritons, lost.tritons),
            ):
                for _ in range(count):
                    self._world.process(self._lose(part, scenario.loss_s))
        self._world.run()

    def _study(self, sent_s: float) -> Events:
        """Let one study come, and be tried until an attempt comes to its end."""
        times = self._scenario.times
        factor = self._draw_factor()
        yield self._world.timeout(sent_s)
        yield from self._cores.work(times.sending_s)
        priority = _FIRST
        while not (yield self._world.process(self._attempt(factor, priority))):
            yield self._world.timeout(LEASE_S)
            priority = _AGAIN
        self.outcome.ended.append((sent_s, self._world.now))

    def _attempt(self, factor: float, priority: int) -> Generator[simpy.Event, Any, bool]:  # Any: as in Events
        """Work a study off; false when the zone went away under it."""
        times, speedup = self._scenario.times, self._scenario.gpu_speedup
        try:
            with self._places.request(priority, preempt=False) as place:
                yield place
                with self._preparing.request(priority, preempt=False) as slot:
                    yield slot
                    yield from self._cores.work(factor * times.preparing_s)
                with self._turns.request(priority, preempt=False) as turn:
                    yield turn
                    with self._tritons.request(priority, preempt=False) as triton:
                        yield triton
                        yield from self._cores.work(factor * times.inferring_s / speedup)
                yield from self._cores.work(factor * times.finishing_s)
        except simpy.Interrupt:
            return False
        return True

    def _lose(self, part: simpy.PreemptiveResource, loss_s: float) -> Events:
        """Take one slot away for good, from whoever has it."""
        yield self._world.timeout(loss_s)
        yield part.request(_LOSS, preempt=True)

    def _draw_factor(self) -> float:
        """Return how much longer than the measured one a study takes: gamma, with mean 1."""
        spread = self._scenario.spread
        return self._random.gammavariate(spread**-2, spread**2) if spread else 1.0


class _Cores:
    """What is under way on the same cores: each of so many studies goes on as fast as its share of them allows."""

    def __init__(self, world: simpy.Environment, count: int | None, *, a_study_keeps_busy: float) -> None:
        self._world = world
        self._most = count / a_study_keeps_busy if count is not None else inf
        self._active = 0
        self._changed = world.event()

    def work(self, alone_s: float) -> Events:
        """Work for as long as it takes; `alone_s` is how long it takes alone."""
        left_s = alone_s
        self._count(1)
        try:
            while left_s > _INSTANT_S:
                pace, began_s = min(1.0, self._most / self._active), self._world.now
                yield self._world.timeout(left_s / pace) | self._changed
                left_s -= (self._world.now - began_s) * pace
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        """Let everybody else look at their pace anew."""
        self._active += change
        changed, self._changed = self._changed, self._world.event()
        changed.succeed()
