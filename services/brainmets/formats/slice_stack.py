"""Owns the grid that parallel slices make, from their positions and orientation alone.

Nothing else that a file says of its slices is believed: spacing between slices, slice location and instance number are
often wrong, and thickness is another thing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.nifti_header import MAX_EXTENT_MM, MIN_SLICES, SPACING_RANGE_MM
from brainmets.imaging.geometry import MAX_VOXELS, Geometry

# Cosines are written with six digits, and by some with three.
COSINE_TOLERANCE = 5e-3
# Slices nearer to each other than this lie at one place: positions are written to a micrometre, or a tenth of it.
SAME_PLACE_MM = 0.01
# A slice this far off its place, or this fraction of a spacing, is where it should be: rounding of positions.
EVEN_MM = 0.05
EVEN_FRACTION = 0.01
# Further off than this fraction of a spacing, no even grid tells the truth about them.
UNEVEN_FRACTION = 0.1


class SliceStackError(ValueError):
    """The slices make no volume; the text says why, in a few words without patient data."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """Slices in the order of their grid.

    Attributes:
        order: (D,) indices of the given positions, along the normal of the slices.
        geometry: The evenly spaced grid that fits them best; its normal is row by column direction.
        uneven_mm: Largest distance of a slice from its place in it; 0 where that is no more than rounding.
    """

    order: NDArray[np.intp]
    geometry: Geometry
    uneven_mm: float


def stack_slices(
    positions_mm: NDArray[np.float64],
    orientation: NDArray[np.float64],
    *,
    pixel_spacing_mm: tuple[float, float],
    matrix: tuple[int, int],
) -> SliceStack:
    """Return the grid of parallel slices given in any order.

    Slices that are shifted against each other within their plane by the same amount each are represented as they are,
    by a grid whose axes are not perpendicular.

    Args:
        positions_mm: (D, 3) centre of each slice's first voxel, LPS.
        orientation: (6,) direction of a row, then of a column, LPS: ImageOrientationPatient.
        pixel_spacing_mm: Between rows, then between columns: PixelSpacing.
        matrix: Rows, columns.

    Raises:
        SliceStackError: They make no volume.

    References:
        DICOM PS3.3 C.7.6.2.1.1 and C.7.6.3.1.1; its equation C.7.6.2.1-1.
    """
    if len(positions_mm) < MIN_SLICES or min(matrix) < MIN_SLICES:
        raise SliceStackError(f"too few slices, rows or columns: {len(positions_mm)} x {matrix[0]} x {matrix[1]}")
    if len(positions_mm) * matrix[0] * matrix[1] > MAX_VOXELS:
        raise SliceStackError(f"more than {MAX_VOXELS} voxels")
    row, column = _directions(orientation)
    order = np.argsort(positions_mm @ np.cross(row, column), kind="stable")
    sorted_mm = positions_mm[order]
    _check_steps(sorted_mm, np.cross(row, column))
    first_mm, step_mm = _fit_line(sorted_mm)
    uneven_mm = _measure_unevenness(sorted_mm, first_mm, step_mm)
    spacing_mm = (float(np.linalg.norm(step_mm)), *pixel_spacing_mm)
    _check_spacing(*spacing_mm)
    _check_extent(*(size * spacing for size, spacing in zip((len(order), *matrix), spacing_mm, strict=True)))
    affine = np.eye(4)
    affine[:3] = np.column_stack([step_mm, column * pixel_spacing_mm[0], row * pixel_spacing_mm[1], first_mm])
    return SliceStack(order, Geometry((len(order), *matrix), affine), uneven_mm)


def _directions(orientation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the perpendicular unit vectors next to the given ones, which have few digits."""
    given = orientation.reshape(2, 3)
    if np.abs(given @ given.T - np.eye(2)).max() > 2 * COSINE_TOLERANCE:
        raise SliceStackError("directions of rows and columns that are not perpendicular unit vectors")
    left, _, right = np.linalg.svd(given, full_matrices=False)
    row, column = left @ right
    return row, column


def _check_spacing(*spacing_mm: float) -> None:
    least_mm, most_mm = SPACING_RANGE_MM
    if not least_mm <= min(spacing_mm) <= max(spacing_mm) <= most_mm:
        text = " x ".join(f"{value:.3g}" for value in spacing_mm)
        raise SliceStackError(f"voxels of {text} mm, not of {least_mm:g} to {most_mm:g}")


def _check_extent(*extent_mm: float) -> None:
    if max(extent_mm) > MAX_EXTENT_MM:
        text = " x ".join(f"{value:.4g}" for value in extent_mm)
        raise SliceStackError(f"a field of view of {text} mm, more than {MAX_EXTENT_MM:g}")


def _check_steps(sorted_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Refuse slices that are doubled, missing or unevenly spaced, and say which of it they are."""
    steps_mm = np.diff(sorted_mm @ normal)
    apart_mm = steps_mm[steps_mm > SAME_PLACE_MM]
    usual_mm = float(np.median(apart_mm)) if len(apart_mm) else 0.0
    doubled = np.count_nonzero(steps_mm <= max(SAME_PLACE_MM, EVEN_FRACTION * usual_mm))
    if doubled:
        raise SliceStackError(f"slices at the same place as another: {doubled}")
    multiples = np.rint(steps_mm / usual_mm).clip(1.0)
    if (np.abs(steps_mm - multiples * usual_mm) > UNEVEN_FRACTION * usual_mm).any():
        raise SliceStackError("unevenly spaced slices")
    missing = int((multiples - 1).sum())
    if missing:
        raise SliceStackError(f"missing slices: {missing}")


def _fit_line(sorted_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first position and the step of the even line that fits positions best, by least squares."""
    places = np.arange(len(sorted_mm)) - (len(sorted_mm) - 1) / 2
    step_mm = places @ sorted_mm / (places @ places)
    return sorted_mm.mean(axis=0) + places[0] * step_mm, step_mm


def _measure_unevenness(
    sorted_mm: NDArray[np.float64], first_mm: NDArray[np.float64], step_mm: NDArray[np.float64]
) -> float:
    even_mm = first_mm + np.arange(len(sorted_mm))[:, np.newaxis] * step_mm
    largest_mm = float(np.linalg.norm(sorted_mm - even_mm, axis=1).max())
    spacing_mm = float(np.linalg.norm(step_mm))
    if largest_mm <= max(EVEN_MM, EVEN_FRACTION * spacing_mm):
        return 0.0
    if largest_mm > UNEVEN_FRACTION * spacing_mm:
        raise SliceStackError("slices that are unevenly spaced or shifted against each other")
    return largest_mm
