"""Owns a volume: voxels that know where they lie in the patient."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box, Geometry, Index

VoxelMemory = Callable[[Index], NDArray[np.float32]]
"""Gives the memory of a volume's voxels (D, H, W), C-contiguous, with anything in it."""


def new_voxels(shape: Index) -> NDArray[np.float32]:
    """Return memory of this process."""
    return np.empty(shape, np.float32)


def store_by_rows(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return voxels (D, H, W) in memory that holds them row by row, on which NumPy is several times as fast.

    They are copied unless they lie so already.
    """
    if abs(voxels.strides[1]) != voxels.itemsize:
        return np.ascontiguousarray(voxels)
    # A sagittal series lies column by column. OpenCV turns it in blocks; NumPy misses the cache with every voxel.
    stored = np.empty(voxels.shape, dtype=voxels.dtype)
    for plane, rows in zip(voxels, stored, strict=True):
        cv2.transpose(plane.T, rows)
    return stored


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One series as an array.

    Attributes:
        voxels: (D, H, W), float32; may be a view of another volume's.
        geometry: Its grid.

    Raises:
        InternalError: The voxels do not fit the grid.
    """

    voxels: NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape or self.voxels.dtype != np.float32:
            raise InternalError(
                "Voxels do not fit their grid",
                expected=f"float32 {self.geometry.shape}",
                got=f"{self.voxels.dtype} {self.voxels.shape}",
                remedy="report it as a defect of brainmets",
            )

    def crop(self, box: Box) -> "Volume":
        """Return a box of this volume, sharing its voxels."""
        return Volume(self.voxels[box.slices], self.geometry.crop(box))
