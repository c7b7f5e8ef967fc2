"""Owns small grids and masks with known answers, for the tests of imaging."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence

Shape = tuple[int, int, int]

# (slice, row, column) to LPS (x, y, z): the world axis that each array axis runs along.
AXIAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
SAGITTAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
CORONAL = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
OBLIQUE = Rotation.from_euler("xyz", [25.0, -15.0, 10.0], degrees=True).as_matrix() @ AXIAL
# No slices of it can be called axial.
STEEP = Rotation.from_euler("xyz", [40.0, -35.0, 20.0], degrees=True).as_matrix() @ AXIAL


def make_geometry(
    shape: Shape,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    directions: NDArray[np.float64] = AXIAL,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """Return a grid."""
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    affine[:3, 3] = origin_mm
    return Geometry(shape, affine)


def axial_geometry(shape: Shape) -> Geometry:
    """Return a canonical axial grid of 1 mm at the origin."""
    return make_geometry(shape)


def make_mask(shape: Shape, *boxes: tuple[slice, slice, slice]) -> LesionMask:
    """Return boxes on a canonical axial grid of 1 mm."""
    voxels = np.zeros(shape, dtype=np.bool_)
    for box in boxes:
        voxels[box] = True
    return LesionMask(voxels, axial_geometry(shape))


def box_at(start: Shape, shape: Shape) -> tuple[slice, slice, slice]:
    """Return a box by its first voxel and its shape."""
    d, h, w = (slice(first, first + size) for first, size in zip(start, shape, strict=True))
    return d, h, w


def ball_mask(diameter_mm: float, *, geometry: Geometry, centre_mm: NDArray[np.float64]) -> LesionMask:
    """Return the voxels whose centre lies in a ball."""
    return ellipsoid_mask((diameter_mm,) * 3, geometry=geometry, centre_mm=centre_mm)


def ellipsoid_mask(
    diameters_mm: tuple[float, float, float], *, geometry: Geometry, centre_mm: NDArray[np.float64]
) -> LesionMask:
    """Return the voxels whose centre lies in an ellipsoid with these diameters along x, y and z."""
    indices = np.argwhere(np.ones(geometry.shape, dtype=np.bool_)).astype(np.float64)
    offsets = (geometry.index_to_world(indices) - centre_mm) / (np.array(diameters_mm) / 2)
    return LesionMask((np.linalg.norm(offsets, axis=1) <= 1.0).reshape(geometry.shape), geometry)


def normalized_volume(shape: Shape, *, channels: int) -> NormalizedVolume:
    """Return random voxels in [0, 1) on a canonical axial grid of 1 mm."""
    geometry = axial_geometry(shape)
    return NormalizedVolume(
        voxels=np.random.default_rng(0).random((channels, *shape), dtype=np.float32),
        sequences=tuple(Sequence)[:channels],
        geometry=geometry,
        acquired=geometry,
        foreground=np.ones(shape, dtype=np.bool_),
        brain=np.ones(shape, dtype=np.bool_),
        findings=(),
    )
