"""Parallel slices make the grid that their positions say, or none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmets.formats.slice_stack import SliceStack, SliceStackError, stack_slices

AXIAL = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


def positions(*heights_mm: float, shift_mm: float = 0.0) -> NDArray[np.float64]:
    """Return positions at heights, each shifted to the left by so much more than the one below."""
    return np.array([[shift_mm * place, 5.0, height_mm] for place, height_mm in enumerate(heights_mm)])


def stack(positions_mm: NDArray[np.float64], orientation: NDArray[np.float64] = AXIAL) -> SliceStack:
    """Return the grid of slices of 20 x 30, 0.5 mm between rows and 0.7 between columns."""
    return stack_slices(positions_mm, orientation, pixel_spacing_mm=(0.5, 0.7), matrix=(20, 30))


def test_axes_are_slice_row_and_column() -> None:
    """A step to the next row goes down a column, by the first of the two spacings."""
    geometry = stack(positions(0, 2, 4)).geometry
    np.testing.assert_allclose(geometry.index_to_world(np.array([[1, 3, 4]]))[0], [4 * 0.7, 5 + 3 * 0.5, 2.0])
    assert geometry.shape == (3, 20, 30)


def test_slices_rise_along_their_normal() -> None:
    """In whatever order they come."""
    sorted_stack = stack(positions(4, 0, 2))
    np.testing.assert_array_equal(sorted_stack.order, [1, 2, 0])
    np.testing.assert_allclose(sorted_stack.geometry.affine[:3, 3], [0, 5, 0], atol=1e-12)


def test_slices_that_are_shifted_evenly_stay_where_they_are() -> None:
    """A slanted stack is a grid with a slanted axis; no voxel is moved to make it straight."""
    slanted = positions(0, 2, 4, 6, shift_mm=0.8)
    geometry = stack(slanted).geometry
    corners = np.array([[place, 0, 0] for place in range(4)])
    np.testing.assert_allclose(geometry.index_to_world(corners), slanted, atol=1e-9)


@pytest.mark.parametrize("digits", [3, 4, 6])
def test_directions_of_few_digits_become_perpendicular_unit_vectors(digits: int) -> None:
    """The nearest ones, so that a voxel moves by no more than the rounding."""
    angle = np.deg2rad(17.0)
    exact = np.array([np.cos(angle), np.sin(angle), 0.0, -np.sin(angle), np.cos(angle), 0.0])
    directions = stack(positions(0, 2, 4), exact.round(digits)).geometry.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(directions[:, 2], exact[:3], atol=10.0**-digits)


@pytest.mark.parametrize(
    ("heights_mm", "uneven_mm"),
    [((0, 2, 4, 6), 0.0), ((0, 2.02, 3.98, 6), 0.0), ((0, 2.0, 4.15, 6.0, 8.0), 0.12)],
    ids=["even", "rounding", "uneven"],
)
def test_unevenness_is_the_largest_distance_from_the_even_grid(heights_mm: tuple[float, ...], uneven_mm: float) -> None:
    """Up to a twentieth of a millimetre, or a hundredth of a spacing, is none."""
    assert stack(positions(*heights_mm)).uneven_mm == pytest.approx(uneven_mm, abs=0.01)


@pytest.mark.parametrize(
    ("positions_mm", "words"),
    [
        (positions(0, 2), "too few"),
        (positions(0, 2, 6, 8, 10), "missing slices: 1"),
        (positions(0, 2, 8, 10, 12, 16, 18), "missing slices: 3"),
        (positions(0, 2, 2, 4, 6), "same place as another: 1"),
        (positions(3, 3, 3, 3), "same place as another: 3"),
        (positions(0, 2, 4.5, 6, 8), "unevenly"),
        (positions(*np.cumsum([2.0] * 8 + [2.19] * 8)), "unevenly"),
        (positions(0, 2, 4, 6) + np.array([[0, 0, 0], [3, 0, 0], [0, 0, 0], [0, 0, 0]]), "shifted"),
        (positions(0, 0.05, 0.1), "voxels of"),
        (positions(0, 30, 60), "voxels of"),
        (positions(*range(0, 610, 10)), "field of view of 610 x 10 x 21 mm"),
    ],
)
def test_slices_that_make_no_volume_say_why(positions_mm: NDArray[np.float64], words: str) -> None:
    """In a few words that name a number, and nothing of the patient."""
    with pytest.raises(SliceStackError, match=words):
        stack(positions_mm)


@pytest.mark.parametrize(
    "orientation", [np.zeros(6), AXIAL * 1.1, np.array([1, 0, 0, 0.1, 0.995, 0]), np.array([1.0, 0, 0, 1.0, 0, 0])]
)
def test_directions_that_are_none_are_refused(orientation: NDArray[np.float64]) -> None:
    """Zero, longer than 1, not perpendicular, or equal."""
    with pytest.raises(SliceStackError, match="perpendicular"):
        stack(positions(0, 2, 4), orientation)


def test_more_voxels_than_are_taken_are_refused_before_they_are_allocated() -> None:
    """By their number alone."""
    with pytest.raises(SliceStackError, match="voxels"):
        stack_slices(positions(*range(40)), AXIAL, pixel_spacing_mm=(1.0, 1.0), matrix=(65_535, 65_535))
