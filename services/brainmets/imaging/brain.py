"""Owns how the midsagittal plane is found in a brain."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.optimize import minimize

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.midline import Midline

# Heads are tilted by less than this when they are scanned; beyond it a mask is not a head's.
MAX_TILT_RAD = 0.5
# The head's shape is judged on voxels of about this size, and at this many of them.
COARSE_MM = 4.0
POINTS = 3000
# First steps of the search: turns, rad, and a shift, mm.
FIRST_TURN_RAD = 0.1
FIRST_SHIFT_MM = 3.0
ITERATIONS = 150


def find_midline(brain: NDArray[np.bool_], geometry: Geometry) -> Midline:
    """Return the plane in which a brain mirrors itself best, whatever the origin of its coordinates.

    Args:
        brain: (D, H, W), its voxels; a head's as a whole do as well, though faces and necks turn.
        geometry: Their grid.
    """
    factors = [max(1, round(COARSE_MM / spacing_mm)) for spacing_mm in geometry.spacing_mm]
    coarse = brain[tuple(slice(None, None, factor) for factor in factors)]
    if not coarse.any():
        return Midline((1.0, 0.0, 0.0), 0.0)
    grid = _coarsened(geometry, factors, coarse.shape)
    depths_mm = _signed_depths(coarse, grid)
    indices = np.argwhere(depths_mm > -COARSE_MM)
    indices = indices[:: max(1, len(indices) // POINTS)]
    centre_mm = grid.index_to_world(np.argwhere(coarse)).mean(axis=0)
    from_centre_mm, here_mm = grid.index_to_world(indices) - centre_mm, depths_mm[tuple(indices.T)]
    lines, to_index = indices.T.astype(np.float64), grid.inverse_affine[:3, :3]

    def mismatch_mm(search: NDArray[np.float64]) -> float:
        normal, shift_mm = _normal(search[:2]), float(search[2])
        beyond_mm = from_centre_mm @ normal - shift_mm
        # Each point is moved along the normal, in indices at once: this is asked a hundred times.
        mirrored = lines - (to_index @ (2.0 * normal))[:, np.newaxis] * beyond_mm
        there_mm = map_coordinates(depths_mm, mirrored, order=1, mode="nearest")
        return float(np.abs(there_mm - here_mm).mean())

    steps = np.array([[0, 0, 0], [FIRST_TURN_RAD, 0, 0], [0, FIRST_TURN_RAD, 0], [0, 0, FIRST_SHIFT_MM]])
    found = minimize(
        mismatch_mm,
        np.zeros(3),
        method="Nelder-Mead",
        bounds=[(-MAX_TILT_RAD, MAX_TILT_RAD)] * 2 + [(None, None)],
        options={"initial_simplex": steps - steps.mean(axis=0), "maxiter": ITERATIONS, "xatol": 1e-3, "fatol": 1e-4},
    )
    x, y, z = normal = _normal(found.x[:2])
    return Midline((float(x), float(y), float(z)), float(centre_mm @ normal + found.x[2]))


def _normal(turns_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vector that points left, turned about the z and the y axis."""
    about_z, about_y = turns_rad
    return np.array([np.cos(about_z) * np.cos(about_y), np.sin(about_z) * np.cos(about_y), np.sin(about_y)])


def _coarsened(geometry: Geometry, factors: list[int], shape: tuple[int, ...]) -> Geometry:
    d, h, w = shape
    affine = geometry.affine.copy()
    affine[:3, :3] *= factors
    return Geometry((d, h, w), affine)


def _signed_depths(head: NDArray[np.bool_], grid: Geometry) -> NDArray[np.float64]:
    """Return how deep in the head each voxel lies, mm, negative outside."""
    depths_mm: NDArray[np.float64] = -distance_transform_edt(~head, sampling=grid.spacing_mm)
    box = find_bounding_box(head)
    if box is not None:
        # What lies nearest outside of a head lies in its box or beside that.
        near = tuple(slice(max(0, axis.start - 1), axis.stop + 1) for axis in box.slices)
        depths_mm[near] += distance_transform_edt(head[near], sampling=grid.spacing_mm)
    return depths_mm
