"""Owns the diameters of one lesion, measured as a reader would: in an axial plane, and in any direction.

A voxel reaches half a voxel beyond its centre along each axis, so that a lone voxel is as long as its edge
and a sphere as long as its diameter, within about one voxel. Concavities are bridged: a diameter joins two
points of the lesion's surface and may leave the lesion in between.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist, pdist

from brainmets.imaging.geometry import Geometry

# Samples a voxel edge in the axial plane of an oblique lesion: two halve what sampling adds to a diameter.
SAMPLES_PER_EDGE = 2
# Most samples along an oblique lesion, which bounds the time that a huge lesion takes.
MAX_SAMPLES = 64
# Where a linearly sampled mask changes from lesion to none.
HALF = 0.5
# A corner this near to the longest diameter lies on it.
ROUNDING_MM = 1e-9
# Chords this near to the longest are as long: on a grid many are, and rounding would choose among them.
TIE_MM = 1e-6


@dataclass(frozen=True, slots=True)
class Diameters:
    """A lesion's diameters, mm.

    Attributes:
        longest_axial_mm: The longest in any one axial plane: the acquired one where the series was angled
            (`Geometry.axial_axes`), else the patient's.
        perpendicular_axial_mm: The longest that is perpendicular to that one in the same plane; where several are the
            longest, to whichever it is longer.
        longest_mm: The longest in any direction.

    References:
        Lin et al. 2015, Response assessment criteria for brain metastases (RANO-BM), Lancet Oncology 16:e270.
    """

    longest_axial_mm: float
    perpendicular_axial_mm: float
    longest_mm: float


@dataclass(frozen=True, slots=True)
class _AxialLesion:
    """A lesion on a grid of axial slices.

    Attributes:
        voxels: (Z, Y, X); which way an axis points does not matter to a length.
        spacing_mm: Of (y, x).
    """

    voxels: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]


def measure_diameters(voxels: NDArray[np.bool_], geometry: Geometry) -> Diameters:
    """Return the diameters of a lesion, (D, H, W) on its own grid, which holds one voxel of it or more."""
    lesion = _align(voxels, geometry)
    hulls_mm = [_find_hull(corners[:, 1:], lesion.spacing_mm) for corners in _slice_corners(lesion.voxels)]
    distances_mm = [cdist(hull_mm, hull_mm) for hull_mm in hulls_mm]
    longest_axial_mm = max(float(distances.max()) for distances in distances_mm)
    perpendicular_mm = max(
        _perpendicular(hull_mm, ends)
        for hull_mm, distances in zip(hulls_mm, distances_mm, strict=True)
        for ends in np.argwhere(np.triu(distances >= longest_axial_mm - TIE_MM))
    )
    longest_mm = _longest_diameter(np.concatenate(_slice_corners(voxels)), geometry)
    # Sampling an oblique lesion may lengthen it by a fraction of a voxel; no diameter exceeds the longest.
    return Diameters(longest_axial_mm, perpendicular_mm, max(longest_mm, longest_axial_mm))


def _align(voxels: NDArray[np.bool_], geometry: Geometry) -> _AxialLesion:
    order = geometry.axial_axes
    if order is None:
        return _resample_axial(voxels, geometry)
    return _AxialLesion(voxels.transpose(order), np.array(geometry.spacing_mm)[[*order[1:]]])


def _resample_axial(voxels: NDArray[np.bool_], geometry: Geometry) -> _AxialLesion:
    """Sample an oblique lesion, linearly, on a grid along the patient's axes."""
    to_world = geometry.affine[:3, :3][::-1]  # voxel offsets to (z, y, x), mm
    inside = np.argwhere(voxels)
    centres_mm = inside @ to_world.T
    voxel_reach_mm = np.abs(to_world).sum(axis=1) / 2
    first_mm, last_mm = centres_mm.min(axis=0) - voxel_reach_mm, centres_mm.max(axis=0) + voxel_reach_mm
    step_mm = max(min(geometry.spacing_mm) / SAMPLES_PER_EDGE, (last_mm - first_mm).max() / MAX_SAMPLES)
    steps_mm = np.array([SAMPLES_PER_EDGE * step_mm, step_mm, step_mm])
    # One sample lies on a voxel's centre, so that a lesion of one voxel is not lost between samples.
    anchor_mm = centres_mm[np.linalg.norm(inside - inside.mean(axis=0), axis=1).argmin()]
    before = np.ceil((anchor_mm - first_mm) / steps_mm)
    after = np.ceil((last_mm - anchor_mm) / steps_mm)
    to_index = np.linalg.inv(to_world)
    sampled = affine_transform(
        voxels.astype(np.float32),
        to_index * steps_mm,
        offset=to_index @ (anchor_mm - before * steps_mm),
        output_shape=tuple(int(size) for size in before + after + 1),
        order=1,
        mode="grid-constant",
    )
    return _AxialLesion(sampled >= HALF, steps_mm[1:])


def _slice_corners(voxels: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Return, for each slice that holds the lesion, the voxels (N, 3) at the corners of its convex hull."""
    # A voxel between two others of its row is no corner.
    ends = voxels.copy()
    ends[:, :, 1:-1] &= ~(voxels[:, :, :-2] & voxels[:, :, 2:])
    points = np.argwhere(ends).astype(np.int32)
    slice_ends = np.flatnonzero(np.diff(points[:, 0])) + 1
    return [piece[cv2.convexHull(piece[:, 1:], returnPoints=False)[:, 0]] for piece in np.split(points, slice_ends)]


def _reach(corners: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the middles of the faces (M, axes) of voxels (N, axes), in half voxels.

    They span the hull of all voxels' faces when the voxels are the corners of the hull of all centres.
    """
    axes = corners.shape[1]
    one = np.eye(axes, dtype=np.int32)
    middles: NDArray[np.int32] = 2 * corners[:, np.newaxis] + np.concatenate([one, -one])
    return middles.reshape(-1, axes)


def _find_hull(corners: NDArray[np.int32], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners (N, 2) of the convex hull of a slice's voxels and their faces, mm."""
    return np.asarray(cv2.convexHull(_reach(corners))[:, 0] * spacing_mm / 2, dtype=np.float64)


def _perpendicular(hull_mm: NDArray[np.float64], ends: NDArray[np.intp]) -> float:
    """Return the longest chord of a hull (N, 2) that is perpendicular to the one between two corners (2,) of it, mm."""
    start, end = hull_mm[ends]
    y, x = (end - start) / np.linalg.norm(end - start)
    along, across = ((hull_mm - start) @ np.array([[y, -x], [x, y]])).T
    # The diameter parts the hull into two chains between its own ends. The distance between them is concave
    # and piecewise linear along it, so that it is largest at a corner.
    upper, lower = (_interpolate_chain(along, across, chain=sign * across >= -ROUNDING_MM) for sign in (1.0, -1.0))
    return float((upper - lower).max())


def _interpolate_chain(
    along: NDArray[np.float64], across: NDArray[np.float64], *, chain: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return where a chain of the hull lies across the diameter, beside every corner of the hull."""
    order = np.flatnonzero(chain)[np.argsort(along[chain])]
    return np.interp(along, along[order], across[order])


def _longest_diameter(corners: NDArray[np.int32], geometry: Geometry) -> float:
    """Return the longest distance in any direction, mm, from the corners of all slices' hulls."""
    points_mm = _reach(corners) @ geometry.affine[:3, :3].T / 2
    return float(pdist(points_mm[ConvexHull(points_mm).vertices]).max())
