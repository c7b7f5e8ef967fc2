"""Masks of small cubes: what the evaluator's tests compare."""

import numpy as np

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask

GRID = Geometry((30, 30, 30), np.eye(4))
# Edge of a cube: 64 mm³, as a ball of 5 mm.
EDGE = 4


def make_mask(*corners: tuple[int, int, int]) -> LesionMask:
    """Return a mask on a 1 mm grid with a cube of 4 mm at each corner."""
    voxels = np.zeros(GRID.shape, dtype=np.bool_)
    for corner in corners:
        voxels[tuple(slice(at, at + EDGE) for at in corner)] = True
    return LesionMask(voxels, GRID)
