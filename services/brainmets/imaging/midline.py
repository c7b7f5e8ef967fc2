"""Owns the midsagittal plane: which side of the brain a point lies on."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# The falx and what crosses it: nearer than this a lesion is neither left nor right.
MIDLINE_MM = 2.0


class Side(StrEnum):
    """Side of the patient's brain."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"


@dataclass(frozen=True, slots=True)
class Midline:
    """The midsagittal plane: points p (LPS, mm) with `normal` · p = `offset_mm`; the unit normal points left."""

    normal: tuple[float, float, float]
    offset_mm: float

    def side_of(self, point_mm: tuple[float, float, float]) -> Side:
        """Return the side that an LPS point lies on."""
        beyond_mm = float(np.dot(self.normal, point_mm)) - self.offset_mm
        if abs(beyond_mm) <= MIDLINE_MM:
            return Side.MIDLINE
        return Side.LEFT if beyond_mm > 0 else Side.RIGHT
