"""Owns small heads with a brain of known shape, for the tests of training."""

import numpy as np

from brainmets.training.heads import CHANNELS, Head

SHAPE = (48, 64, 56)
RADII = (20.0, 28.0, 24.0)


def make_head() -> Head:
    """Return an ellipsoid of brain with intensity 1 in all four sequences, in air."""
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    distance = sum(
        ((axis - (size - 1) / 2) / radius) ** 2 for axis, size, radius in zip(grid, SHAPE, RADII, strict=True)
    )
    brain = (distance <= 1.0).astype(np.float32)
    return Head(voxels=np.repeat(brain[None], CHANNELS, axis=0), brain=brain, present=(True,) * CHANNELS)
