"""Owns the head that a training study is painted on: four sequences, its brain, and the target that grows in it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.training.fields import Floats, Shape, enlarge

# Channels of a head and of a network's input, in the order of `Sequence`.
T1C, T1N, T2W, T2F = range(4)
CHANNELS = 4
HALF = 0.5


@dataclass(slots=True, eq=False)
class Head:
    """A head being painted, on an axial grid of 1 mm; unlike other values of this project it is changed in place.

    Attributes:
        voxels: (4, D, H, W), float32 in brain units: 1 is the brain's median in that sequence, 0 is air.
        brain: (D, H, W), the share of each voxel that is brain.
        present: Which sequences the study has; what is painted into the others is never seen.
        target: (D, H, W), the voxels that are lesion.
        coarse_depth_mm: Depth below the brain's surface on a grid of half the size, negative outside of it.
    """

    voxels: Floats
    brain: Floats
    present: tuple[bool, ...]
    target: NDArray[np.bool_] = field(init=False)
    coarse_depth_mm: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.target = np.zeros(self.brain.shape, dtype=np.bool_)
        coarse = self.brain[::2, ::2, ::2] > HALF
        inside, outside = (ndimage.distance_transform_edt(part, sampling=2.0) for part in (coarse, ~coarse))
        self.coarse_depth_mm = (inside - outside).astype(np.float32)

    @property
    def shape(self) -> Shape:
        """(D, H, W)."""
        d, h, w = self.brain.shape
        return d, h, w

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of the sequences that the study has."""
        return tuple(channel for channel, present in enumerate(self.present) if present)

    @property
    def anatomy(self) -> Floats:
        """The T1 (D, H, W) that tells CSF from tissue: without contrast medium where there is one."""
        anatomy: Floats = self.voxels[T1N if self.present[T1N] else T1C]
        return anatomy

    @property
    def depth_mm(self) -> Floats:
        """Depth of each voxel (D, H, W) below the brain's surface, negative outside of it."""
        depth_mm: Floats = enlarge(self.coarse_depth_mm[None], self.shape)[0]
        return depth_mm

    def is_taken(self, coarse_index: NDArray[np.intp]) -> bool:
        """Return whether a voxel, given on the grid of half the size, is lesion already."""
        d, h, w = (2 * coarse_index).tolist()
        return bool(self.target[d, h, w])

    def place_around(self, centre: Shape, *, reach_mm: float) -> tuple[slice, slice, slice]:
        """Return the box of voxels within reach of one, inside the head."""
        reach = int(np.ceil(reach_mm))
        d, h, w = (
            slice(max(0, at - reach), min(size, at + reach + 1)) for at, size in zip(centre, self.shape, strict=True)
        )
        return d, h, w
