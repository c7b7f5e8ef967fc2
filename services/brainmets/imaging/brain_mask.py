"""Owns the brain mask: where the brain is, as a worker is told."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Geometry

# A mask that is sent tells every so many voxels: it errs by no more than the margin allows.
TOLD_STEP = 2


@dataclass(frozen=True, slots=True)
class BrainMask:
    """Where the brain is on a grid that is known apart.

    Attributes:
        step: Every `step`-th slice, row and column is told, beginning with the first; 0 when nothing is known.
        bits: One bit a told voxel, in C order, the first in a byte's highest bit.
    """

    step: int
    bits: bytes

    def unpack(self, grid: Geometry) -> NDArray[np.bool_]:
        """Return the told voxels (d, h, w) of a grid.

        Raises:
            InternalError: The bits are not this grid's.
        """
        d, h, w = (-(-size // self.step) for size in grid.shape)
        if len(self.bits) != -(-d * h * w // 8):
            raise InternalError(
                "A brain mask does not fit its grid",
                expected=f"{d * h * w} bits",
                got=f"{len(self.bits)} bytes",
                remedy="run the same version of gateway and preprocessing",
            )
        voxels = np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=d * h * w)
        return voxels.reshape(d, h, w).astype(np.bool_)


# What a worker knows that was told nothing: it leaves nothing out.
UNKNOWN_BRAIN = BrainMask(0, b"")


def pack_brain(brain: NDArray[np.bool_]) -> BrainMask:
    """Return what is told of a brain (D, H, W)."""
    return BrainMask(TOLD_STEP, np.packbits(brain[::TOLD_STEP, ::TOLD_STEP, ::TOLD_STEP]).tobytes())
