"""Owns the ledger of jobs: how many were accepted, and how, why and when they ended, as Redis counts them.

The scripts of `lua/` count in the step that ends a job, so that each end counts once, whoever brings it about and
whatever becomes of that process afterwards.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

LEDGER_KEY = "ledger"


class JobEnd(NamedTuple):
    """How a job ended: its final state, why it failed ("none" unless it did), and the state it was in before."""

    state: str
    reason: str
    phase: str


@dataclass(frozen=True, slots=True)
class Turnarounds:
    """Times from acceptance to the end; `counts` has one bound in ms (infinite at last) for each time below it."""

    counts: Mapping[float, int] = field(default_factory=dict)
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobLedger:
    """What Redis has counted since it keeps this tenant's jobs; `turnarounds` are by final state."""

    accepted: int = 0
    ended: Mapping[JobEnd, int] = field(default_factory=dict)
    turnarounds: Mapping[str, Turnarounds] = field(default_factory=dict)


def ledger_from_fields(fields: Mapping[bytes, bytes]) -> JobLedger:
    """Return the ledger that a hash holds; lua/shared.lua writes it."""
    accepted, ended = 0, Counter[JobEnd]()
    counts: dict[str, Counter[float]] = {}
    total_ms = Counter[str]()
    for name, value in fields.items():
        match name.decode().split(":"):
            case ["accepted"]:
                accepted = int(value)
            case ["ended", state, reason, phase]:
                ended[JobEnd(state, reason, phase)] = int(value)
            case ["turnaround", state, bound_ms]:
                counts.setdefault(state, Counter())[float(bound_ms)] = int(value)
            case ["turnaround_ms", state]:
                total_ms[state] = int(value)
    turnarounds = {state: Turnarounds(counts[state], total_ms[state] / 1000) for state in counts}
    return JobLedger(accepted, ended, turnarounds)
