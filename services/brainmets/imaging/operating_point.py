"""Owns the operating point: where a probability becomes a lesion, and the names of those that are offered."""

from dataclasses import dataclass
from enum import StrEnum

from brainmets.imaging.errors import InvalidArgumentError


class OperatingPointName(StrEnum):
    """What a decision leans to; chosen on validation studies only."""

    SENSITIVE = "sensitive"
    BALANCED = "balanced"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a network's probability becomes a lesion.

    Attributes:
        threshold: Probability from which a voxel is lesion, inside (0, 1).
        min_lesion_volume_mm3: Components below it are left out; 0 or more.

    Raises:
        InvalidArgumentError: One of them is out of its range.
    """

    threshold: float
    min_lesion_volume_mm3: float

    def __post_init__(self) -> None:
        """Refuse what decides nothing."""
        if not (0.0 < self.threshold < 1.0 and 0.0 <= self.min_lesion_volume_mm3 < float("inf")):
            raise InvalidArgumentError(
                "This is no operating point",
                expected="a threshold inside (0, 1) and a volume of 0 mm³ or more",
                got=f"{self.threshold} and {self.min_lesion_volume_mm3} mm³",
                remedy="correct it",
            )
