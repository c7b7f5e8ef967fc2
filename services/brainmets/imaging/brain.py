"""Owns the two sides of the brain: its midsagittal plane, and which side of it a point lies on."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from brainmets.imaging.geometry import Geometry

# The falx and what crosses it: nearer than this a lesion is neither left nor right.
MIDLINE_MM = 2.0
# Heads are tilted by less than this when they are scanned; beyond it a mask is not a head's.
MAX_TILT_RAD = 0.5
# Voxels the plane is found from: more do not move it by a tenth of a millimetre.
POINTS = 4000
# First steps of the search: turns, rad, and a shift, mm.
FIRST_TURN_RAD = 0.08
FIRST_SHIFT_MM = 3.0
ITERATIONS = 120


class Side(StrEnum):
    """Side of the patient's brain."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"


@dataclass(frozen=True, slots=True)
class Midline:
    """The midsagittal plane: points p (LPS, mm) with `normal` · p = `offset_mm`; the unit normal points left."""

    normal: tuple[float, float, float]
    offset_mm: float

    def side_of(self, point_mm: tuple[float, float, float]) -> Side:
        """Return the side that an LPS point lies on."""
        beyond_mm = float(np.dot(self.normal, point_mm)) - self.offset_mm
        if abs(beyond_mm) <= MIDLINE_MM:
            return Side.MIDLINE
        return Side.LEFT if beyond_mm > 0 else Side.RIGHT


def find_midline(foreground: NDArray[np.bool_], geometry: Geometry) -> Midline:
    """Return the plane in which a head mirrors itself best, whatever the origin of its coordinates.

    Args:
        foreground: (D, H, W), the head's voxels.
        geometry: Their grid.
    """
    points_mm = _sample_points(foreground, geometry)
    if not len(points_mm):
        return Midline((1.0, 0.0, 0.0), 0.0)
    centre_mm = points_mm.mean(axis=0)

    def mismatch(search: NDArray[np.float64]) -> float:
        normal, shift_mm = _normal(search[:2]), float(search[2])
        beyond_mm = (points_mm - centre_mm) @ normal - shift_mm
        mirrored_mm = points_mm - 2.0 * beyond_mm[:, np.newaxis] * normal
        return 1.0 - float(_lookup(foreground, geometry.world_to_index(mirrored_mm)).mean())

    steps = np.array([[0, 0, 0], [FIRST_TURN_RAD, 0, 0], [0, FIRST_TURN_RAD, 0], [0, 0, FIRST_SHIFT_MM]])
    found = minimize(
        mismatch,
        np.zeros(3),
        method="Nelder-Mead",
        bounds=[(-MAX_TILT_RAD, MAX_TILT_RAD)] * 2 + [(None, None)],
        options={
            "initial_simplex": steps - steps.mean(axis=0),
            "maxiter": ITERATIONS,
            "xatol": 1e-3,
            "fatol": 1e-5,
        },
    )
    x, y, z = normal = _normal(found.x[:2])
    return Midline((float(x), float(y), float(z)), float(centre_mm @ normal + found.x[2]))


def _normal(turns_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vector that points left, turned about the z and the y axis."""
    about_z, about_y = turns_rad
    return np.array([np.cos(about_z) * np.cos(about_y), np.sin(about_z) * np.cos(about_y), np.sin(about_y)])


def _sample_points(foreground: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float64]:
    inside = np.flatnonzero(foreground)
    chosen = inside[:: max(1, len(inside) // POINTS)]
    return geometry.index_to_world(np.stack(np.unravel_index(chosen, foreground.shape), axis=1))


def _lookup(foreground: NDArray[np.bool_], indices: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the voxels at indices (N, 3) are head; those beyond the grid are not."""
    nearest = np.rint(indices).astype(np.int64)
    inside: NDArray[np.bool_] = np.all((nearest >= 0) & (nearest < foreground.shape), axis=1)
    d, h, w = np.where(inside[:, np.newaxis], nearest, 0).T
    found: NDArray[np.bool_] = foreground[d, h, w] & inside
    return found
