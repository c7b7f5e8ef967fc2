"""Owns the closed set of values of one label."""

import itertools
from collections.abc import Iterable

from prometheus_client import Counter, Histogram

OTHER = "other"


class LabelSet:
    """The values that a label takes; every other one is "other"."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = tuple(sorted({*values, OTHER}))

    def label(self, value: str) -> str:
        """Return the value when it is in the set, else "other"."""
        return value if value in self.values else OTHER


def start_at_zero(metric: Counter | Histogram, *labels: LabelSet) -> None:
    """Make every series of a metric: one that appears with its first event hides that event from rate()."""
    for values in itertools.product(*(label.values for label in labels)):
        metric.labels(*values)
