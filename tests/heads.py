"""Owns a head with known anatomy, for tests that need more than a ball: two unequal halves, skull, and a lesion."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.volume import Volume
from imaging_cases import make_geometry

# The lesion's centre and diameter, LPS mm: in the patient's left half, behind the middle.
LESION_MM = (22.0, 18.0, 10.0)
LESION_DIAMETER_MM = 14.0
HALF_AXES_MM = (48.0, 58.0, 44.0)


def intensity_at(points_mm: NDArray[np.float64], *, contrast: str = "t1c", skull: bool = False) -> NDArray[np.float64]:
    """Return a head's intensity at LPS points (…, 3), mm: it exists in space, whatever grid it is stored on."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    radius = np.sqrt(sum((points_mm[..., axis] / HALF_AXES_MM[axis]) ** 2 for axis in range(3)))
    folds = 40.0 * np.sin(x / 7.0) * np.cos(y / 9.0) * np.sin(z / 8.0 + 0.5)
    ventricle = ((np.abs(x) - 8.0) / 6.0) ** 2 + (y / 20.0) ** 2 + (z / 10.0) ** 2 < 1.0
    lesion = np.linalg.norm(points_mm - LESION_MM, axis=-1) < LESION_DIAMETER_MM / 2
    tissue = {"t1c": (300.0, 120.0, 700.0), "t2w": (250.0, 800.0, 500.0)}[contrast]
    brain = np.where(lesion, tissue[2], np.where(ventricle, tissue[1], tissue[0] + folds))
    head = np.where(radius < 1.0, brain, 0.0)
    if not skull:
        return head
    shell = np.where(radius < 1.08, 60.0, np.where(radius < 1.2, 500.0, 0.0))
    return np.where(radius < 1.0, head, shell)


def head_on(geometry: Geometry, *, contrast: str = "t1c", skull: bool = False, noise: float = 0.0) -> Volume:
    """Return the head sampled on a grid."""
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in geometry.shape), indexing="ij"), axis=-1)
    points_mm = geometry.index_to_world(indices.reshape(-1, 3)).reshape(*geometry.shape, 3)
    voxels = intensity_at(points_mm, contrast=contrast, skull=skull)
    if noise:
        voxels = np.abs(voxels + np.random.default_rng(0).normal(0.0, noise, voxels.shape))
    return Volume(voxels.astype(np.float32), geometry)


def head_geometry(
    directions: NDArray[np.float64], *, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0), reach_mm: float = 64.0
) -> Geometry:
    """Return a grid with these directions, centred on the head, that reaches `reach_mm` to either side."""
    shape = tuple(int(2 * reach_mm / spacing) + 1 for spacing in spacing_mm)
    first_mm = -(directions * spacing_mm) @ ((np.array(shape) - 1) / 2)
    return make_geometry(shape, spacing_mm=spacing_mm, directions=directions, origin_mm=tuple(first_mm.tolist()))
