"""A grid places its voxels in the patient and back."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from brainmets.imaging.errors import SingularAffineError
from brainmets.imaging.geometry import Box, Geometry
from imaging_cases import AXIAL, CORONAL, OBLIQUE, SAGITTAL, STEEP, axial_geometry, make_geometry


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_an_index_comes_back_from_the_world(directions: np.ndarray) -> None:
    """Index to LPS to index is the identity on every grid."""
    geometry = make_geometry((5, 6, 7), spacing_mm=(3.0, 0.5, 0.7), directions=directions, origin_mm=(9.0, -4.0, 2.0))
    indices = np.random.default_rng(0).uniform(-3, 9, (20, 3))
    np.testing.assert_allclose(geometry.world_to_index(geometry.index_to_world(indices)), indices, atol=1e-9)


def test_spacing_is_told_for_each_axis() -> None:
    """Spacing follows the array's axes, whichever way they point."""
    geometry = make_geometry((5, 6, 7), spacing_mm=(3.0, 0.5, 0.7), directions=OBLIQUE)
    assert geometry.spacing_mm == pytest.approx((3.0, 0.5, 0.7))
    assert geometry.voxel_volume_mm3 == pytest.approx(1.05)


def test_a_sheared_voxel_has_its_own_volume() -> None:
    """Axes that are not perpendicular enclose less than the product of their lengths."""
    affine = np.eye(4)
    affine[:3, :3] = [[1.0, 0.6, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 2.0]]
    assert Geometry((2, 2, 2), affine).voxel_volume_mm3 == pytest.approx(1.6)


def test_a_crop_keeps_the_place_of_its_voxels() -> None:
    """The first voxel of a box lies where it lay before."""
    geometry = make_geometry((9, 9, 9), spacing_mm=(2.0, 1.0, 1.0), directions=OBLIQUE)
    cropped = geometry.crop(Box((2, 3, 4), (5, 9, 8)))
    assert cropped.shape == (3, 6, 4)
    np.testing.assert_allclose(
        cropped.index_to_world(np.array([[1, 1, 1]])), geometry.index_to_world(np.array([[3, 4, 5]]))
    )


def test_rounding_does_not_make_another_grid() -> None:
    """A float32 header still matches the grid it was written from; half a voxel does not."""
    geometry = make_geometry((9, 9, 9), directions=OBLIQUE, origin_mm=(-90.3, 12.7, 55.1))
    assert geometry.matches(Geometry(geometry.shape, geometry.affine.astype(np.float32)))
    moved = geometry.affine.copy()
    moved[0, 3] += 0.5
    assert not geometry.matches(Geometry(geometry.shape, moved))
    assert not geometry.matches(axial_geometry((9, 9, 8)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1.0, -1.0), repeat=3)))
@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["straight", "angled"])
def test_axial_slices_are_found_in_every_order_and_sense_of_axes(
    directions: NDArray[np.float64], order: tuple[int, ...], signs: tuple[float, ...]
) -> None:
    """The axes that run towards the head, the back and the left, however they are stored."""
    geometry = make_geometry((4, 5, 6), directions=directions[:, order] * signs)
    assert geometry.axial_axes == tuple(order.index(axis) for axis in range(3))


def test_a_steep_or_sheared_grid_has_no_axial_slices() -> None:
    """Neither is guessed at."""
    sheared = AXIAL.copy()
    sheared[:, 1] += 0.02 * sheared[:, 2]
    assert make_geometry((4, 5, 6), directions=STEEP).axial_axes is None
    assert make_geometry((4, 5, 6), directions=sheared).axial_axes is None


@pytest.mark.parametrize("column", [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (np.nan, 0.0, 0.0)])
def test_axes_that_do_not_span_space_are_refused(column: tuple[float, float, float]) -> None:
    """An axis of length 0, one along another, and one that is not finite place nothing."""
    affine = np.eye(4)
    affine[:3, 0] = column
    with pytest.raises(SingularAffineError):
        Geometry((2, 2, 2), affine)


def test_a_grid_cannot_be_changed() -> None:
    """Voxels never lose their place by a write to the affine."""
    with pytest.raises(ValueError, match="read-only"):
        axial_geometry((2, 2, 2)).affine[0, 3] = 1.0


@pytest.mark.parametrize("angle_deg", [0.0, 0.001, 4.0, 25.0])
@pytest.mark.parametrize("plane", [AXIAL, SAGITTAL, CORONAL], ids=["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_slices_are_angled_by_the_lean_of_their_normal(angle_deg: float, plane: NDArray[np.float64], axis: str) -> None:
    """In whatever plane the series was acquired."""
    leaning = Rotation.from_euler(axis, -angle_deg, degrees=True).as_matrix() @ plane
    assert make_geometry((4, 5, 6), directions=leaning).angulation_deg == pytest.approx(angle_deg, abs=1e-9)


@pytest.mark.parametrize("directions", [Rotation.from_euler("z", 20.0, degrees=True).as_matrix() @ AXIAL, STEEP])
def test_slices_across_the_patient_are_not_angled(directions: NDArray[np.float64]) -> None:
    """A head turned within them is not, nor are the patient's own slices, which stand in for steep ones."""
    assert make_geometry((4, 5, 6), directions=directions).angulation_deg == pytest.approx(0.0, abs=1e-9)
