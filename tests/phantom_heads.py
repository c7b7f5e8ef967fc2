"""Owns small heads with a brain of known shape, for the tests of training."""

from pathlib import Path

import numpy as np

from brainmets.formats.nifti import write_nifti
from brainmets.imaging.geometry import Geometry
from brainmets.training.heads import CHANNELS, T1C, Head
from brainmets.training.studies import AXIAL_AFFINE

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


def save_labelled_phantom(parent: Path) -> Path:
    """Write a labelled study into a folder of its own: an uneven brain with a bright ball, the ball its reference."""
    folder = parent / "phantom-001"
    folder.mkdir()
    head = make_head()
    grid = np.ogrid[tuple(slice(0, size) for size in head.shape)]
    ball = sum((axis - at) ** 2.0 for axis, at in zip(grid, (24, 32, 36), strict=True)) < 36.0
    uneven = np.random.default_rng(0).uniform(0.8, 1.2, size=head.shape)
    voxels = np.where(ball, 3.0, head.voxels[T1C] * uneven).astype(np.float32)
    geometry = Geometry(head.shape, AXIAL_AFFINE)
    (folder / "phantom-001-t1c.nii.gz").write_bytes(write_nifti(voxels, geometry))
    (folder / "phantom-001-seg.nii.gz").write_bytes(write_nifti(ball.astype(np.uint8), geometry))
    return folder
