"""Owns the bootstrap interval: how far a figure would move had other studies of the same kind been drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 2000
# With fewer studies an interval says nothing.
FEWEST_STUDIES = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio of sums over studies with its percentile interval of 95 %; NaN where there is none.

    Attributes:
        value: The figure.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


def estimate_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Figure:
    """Return the sum of numerators over that of denominators; studies are drawn, not lesions, which are no strangers.

    References:
        Efron 1979, Bootstrap methods: another look at the jackknife, Ann Statist 7:1.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    nan = float("nan")
    value = float(above.sum() / below.sum()) if below.sum() else nan
    if np.count_nonzero(below) < FEWEST_STUDIES or np.ptp(above) == np.ptp(below) == 0.0:
        return Figure(value, nan, nan)
    drawn = bootstrap(
        (above, below), _ratio, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, paired=True, vectorized=True,
        method="percentile", rng=np.random.default_rng(0),
    )  # fmt: skip
    return Figure(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def estimate_mean(values: Sequence[float]) -> Figure:
    """Return the mean over studies."""
    return estimate_ratio(values, [1.0] * len(values))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    # A resample without a single lesion has no sensitivity; it counts as one in which none was found.
    ratio: NDArray[np.float64] = above.sum(axis=axis) / np.maximum(below.sum(axis=axis), 1.0)
    return ratio
