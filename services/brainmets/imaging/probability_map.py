"""Owns a probability map: what the networks say about every voxel of a grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Geometry

# Blending and interpolation add float32 products, which may lift a probability of 1 this far above it.
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityMap:
    """A probability for every voxel of a grid.

    Attributes:
        voxels: (D, H, W), float32 in [0, 1] but for rounding.
        geometry: The grid.

    Raises:
        InternalError: The voxels do not fit the grid or hold anything but probabilities.
    """

    voxels: NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        """Refuse voxels that are no probabilities on this grid."""
        if self.voxels.shape != self.geometry.shape or self.voxels.dtype != np.float32:
            raise _misfit(f"float32 voxels of shape {self.geometry.shape}", f"{self.voxels.dtype} {self.voxels.shape}")
        # Written so that a NaN fails too.
        if not (self.voxels.min() >= -ROUNDING and self.voxels.max() <= 1.0 + ROUNDING):
            raise _misfit("probabilities in [0, 1]", "values outside")


def _misfit(expected: str, got: str) -> InternalError:
    return InternalError(
        "Voxels are no probability map", expected=expected, got=got, remedy="report it as a defect of brainmets"
    )
