"""Owns the stopwatch: how long a piece of work takes, seconds."""

import statistics
import time
from collections.abc import Callable


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long it takes once."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median of some runs."""
    return statistics.median(seconds_of(work) for _ in range(repeats))
