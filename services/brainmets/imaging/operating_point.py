"""Owns the operating point: where a probability becomes a lesion, and the names of those that are offered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from brainmets.imaging.errors import InvalidArgumentError


class OperatingPointName(StrEnum):
    """What a decision leans to; chosen on validation studies only."""

    SENSITIVE = "sensitive"
    BALANCED = "balanced"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a network's probability becomes a lesion: thresholding with hysteresis.

    Attributes:
        threshold: Probability from which a voxel belongs to a lesion, inside (0, 1): it draws the border.
        min_lesion_volume_mm3: Components below it are left out; 0 or more.
        min_peak_probability: Components of which no voxel reaches it are left out, in [0, 1): it decides that there is
            a lesion at all. Up to the threshold it asks nothing more.

    Raises:
        InvalidArgumentError: One of them is out of its range.

    References:
        Canny 1986, A computational approach to edge detection, IEEE Trans PAMI 8:679 (hysteresis).
    """

    threshold: float
    min_lesion_volume_mm3: float
    min_peak_probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what decides nothing."""
        within = 0.0 < self.threshold < 1.0 and 0.0 <= self.min_peak_probability < 1.0
        if not (within and 0.0 <= self.min_lesion_volume_mm3 < float("inf")):
            raise InvalidArgumentError(
                "This is no operating point",
                expected="a threshold inside (0, 1), a peak in [0, 1) and a volume of 0 mm³ or more",
                got=f"{self.threshold}, {self.min_peak_probability} and {self.min_lesion_volume_mm3} mm³",
                remedy="correct it",
            )

    def replaced_by(self, threshold: float | None, volume_mm3: float | None, peak: float | None) -> "OperatingPoint":
        """Return the point with what a client gave in place of its own; None leaves it.

        A threshold that is given alone decides alone, as it did before there were peaks.
        """
        own_peak = self.min_peak_probability if threshold is None else 0.0
        return OperatingPoint(
            self.threshold if threshold is None else threshold,
            self.min_lesion_volume_mm3 if volume_mm3 is None else volume_mm3,
            own_peak if peak is None else peak,
        )


def are_ordered(points: Mapping[OperatingPointName, OperatingPoint]) -> bool:
    """Return whether thresholds and peaks rise from sensitive to specific, each or not at all."""
    ordered = [points[name] for name in OperatingPointName]
    return all(
        one.threshold <= next_one.threshold and one.min_peak_probability <= next_one.min_peak_probability
        for one, next_one in pairwise(ordered)
    )


def mean_point(points: Iterable[OperatingPoint]) -> OperatingPoint:
    """Return where networks decide together: the mean of their probabilities, and the largest volume.

    The largest is the cautious one: below it at least one of the networks promises nothing.
    """
    points = tuple(points)
    return OperatingPoint(
        sum(point.threshold for point in points) / len(points),
        max(point.min_lesion_volume_mm3 for point in points),
        sum(point.min_peak_probability for point in points) / len(points),
    )
