"""Diameters are those of known solids, on any grid."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from brainmets.imaging.diameters import Diameters, measure_diameters
from brainmets.imaging.lesions import LesionMask
from imaging_cases import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    STEEP,
    Shape,
    axial_geometry,
    ball_mask,
    ellipsoid_mask,
    make_geometry,
)

PLANES = pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL], ids=["axial", "sagittal", "coronal"])


def measure(mask: LesionMask) -> Diameters:
    """Measure a whole mask as one lesion."""
    return measure_diameters(mask.voxels, mask.geometry)


def ball(
    diameter_mm: float,
    *,
    spacing_mm: Shape | tuple[float, float, float] = (1.0, 1.0, 1.0),
    directions: NDArray[np.float64] = AXIAL,
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> LesionMask:
    """Return a ball in the middle of its grid, shifted by a part of a voxel."""
    d, h, w = (int(diameter_mm / spacing) + 5 for spacing in spacing_mm)
    geometry = make_geometry((d, h, w), spacing_mm=spacing_mm, directions=directions)
    centre_mm = geometry.index_to_world(np.array([[d // 2, h // 2, w // 2]]) + np.array([shift]))[0]
    return ball_mask(diameter_mm, geometry=geometry, centre_mm=centre_mm)


shifts = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


@PLANES
@pytest.mark.parametrize("diameter_mm", [4.0, 6.0, 10.0, 20.0, 40.0])
def test_a_ball_is_as_long_as_its_diameter(diameter_mm: float, directions: NDArray[np.float64]) -> None:
    """All diameters of a ball are its own within a voxel, whatever plane it was acquired in."""
    found = measure(ball(diameter_mm, directions=directions))
    lengths = (found.longest_axial_mm, found.perpendicular_axial_mm, found.longest_mm)
    assert lengths == pytest.approx((diameter_mm,) * 3, abs=1.0)


@given(diameter_mm=st.floats(4.0, 15.0), shift=shifts)
def test_where_a_ball_lies_between_voxels_matters_little(diameter_mm: float, shift: tuple[float, float, float]) -> None:
    """A ball that is centred on no voxel measures its diameter within a voxel too."""
    found = measure(ball(diameter_mm, shift=shift))
    assert found.longest_axial_mm == pytest.approx(diameter_mm, abs=1.0)
    assert found.longest_mm == pytest.approx(diameter_mm, abs=1.0)


@given(seed=st.integers(0, 2**32 - 1), diameter_mm=st.floats(4.0, 15.0))
def test_a_ball_on_an_oblique_grid_is_as_long_as_its_diameter(seed: int, diameter_mm: float) -> None:
    """The patient's axial plane cuts an oblique grid's voxels, which costs at most half a voxel more."""
    directions = Rotation.random(random_state=seed).as_matrix()
    found = measure(ball(diameter_mm, directions=directions))
    assert found.longest_axial_mm == pytest.approx(diameter_mm, abs=1.5)
    assert found.longest_mm == pytest.approx(diameter_mm, abs=1.5)


@pytest.mark.parametrize("diameter_mm", [10.0, 20.0, 40.0])
def test_thick_slices_do_not_lengthen_axial_diameters(diameter_mm: float) -> None:
    """On 5 mm slices axial diameters are right within an in-plane voxel, the longest within a slice."""
    found = measure(ball(diameter_mm, spacing_mm=(5.0, 0.9, 0.9)))
    assert found.longest_axial_mm == pytest.approx(diameter_mm, abs=0.9)
    assert found.perpendicular_axial_mm == pytest.approx(diameter_mm, abs=0.9)
    assert found.longest_mm == pytest.approx(diameter_mm, abs=5.0)


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL, STEEP], ids=["axial", "sagittal", "coronal", "steep"])
def test_axial_diameters_lie_in_the_patients_axial_plane(directions: NDArray[np.float64]) -> None:
    """What is long from head to foot is short in the axial plane, whatever plane it was acquired in."""
    geometry = make_geometry((60, 60, 60), directions=directions)
    centre_mm = geometry.index_to_world(np.array([[30.0, 30.0, 30.0]]))[0]
    found = measure(ellipsoid_mask((20.0, 10.0, 40.0), geometry=geometry, centre_mm=centre_mm))
    lengths = (found.longest_axial_mm, found.perpendicular_axial_mm, found.longest_mm)
    assert lengths == pytest.approx((20.0, 10.0, 40.0), abs=1.2)


def test_an_angled_series_is_measured_in_its_own_slices() -> None:
    """As whoever acquired it reads it: its diameters are those of the same voxels stored straight."""
    voxels = np.random.default_rng(2).random((6, 7, 8)) > 0.6
    spacing_mm = (3.0, 0.7, 1.1)
    straight, angled = (
        make_geometry(voxels.shape, spacing_mm=spacing_mm, directions=each) for each in (AXIAL, OBLIQUE)
    )
    ours, theirs = measure_diameters(voxels, straight), measure_diameters(voxels, angled)
    assert dataclasses.astuple(theirs) == pytest.approx(dataclasses.astuple(ours))


def test_the_perpendicular_is_a_chord_not_a_shadow() -> None:
    """A sheared shape is as wide as its longest chord across, not as what it spans across (RANO-BM)."""
    voxels = np.zeros((1, 21, 41), dtype=np.bool_)
    for row in range(21):
        voxels[0, row, row : row + 21] = True
    found = measure_diameters(voxels, axial_geometry((1, 21, 41)))
    # A parallelogram (0, 0) (20, 0) (40, 20) (20, 20): its longest diameter is the diagonal (40, 20), and
    # the chord across from (20, 0) along (-1, 2) meets the edge y = x at (40/3, 40/3). Its shadow is 17.9 mm.
    assert found.longest_axial_mm == pytest.approx(np.hypot(40.0, 20.0), abs=1.0)
    assert found.perpendicular_axial_mm == pytest.approx(np.hypot(20.0 / 3.0, 40.0 / 3.0), abs=1.0)


@PLANES
def test_one_voxel_is_as_long_as_its_edges(directions: NDArray[np.float64]) -> None:
    """A lone voxel is no point."""
    geometry = make_geometry((1, 1, 1), spacing_mm=(2.0, 2.0, 2.0), directions=directions)
    assert measure_diameters(np.ones((1, 1, 1), dtype=np.bool_), geometry) == Diameters(2.0, 2.0, 2.0)


def test_one_oblique_voxel_is_not_lost() -> None:
    """A lone voxel between two axial planes has a length."""
    geometry = make_geometry((1, 1, 1), directions=STEEP)
    found = measure_diameters(np.ones((1, 1, 1), dtype=np.bool_), geometry)
    assert 0.0 < found.longest_axial_mm <= found.longest_mm < 2.0


def test_a_row_of_voxels_is_as_long_as_their_edges() -> None:
    """A flat, thin lesion needs no special care."""
    found = measure_diameters(np.ones((1, 1, 5), dtype=np.bool_), axial_geometry((1, 1, 5)))
    assert found == Diameters(5.0, 1.0, 5.0)


def test_a_straight_line_through_slices_is_short_in_the_plane() -> None:
    """The longest diameter may run from head to foot."""
    found = measure_diameters(np.ones((5, 1, 1), dtype=np.bool_), axial_geometry((5, 1, 1)))
    assert found == Diameters(1.0, 1.0, 5.0)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 0.9375, 0.9375), (1.2, 0.48828125, 0.48828125)])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_storage_does_not_matter(seed: int, spacing_mm: tuple[float, float, float]) -> None:
    """On a grid several chords are the longest, and the perpendicular must not depend on which comes first."""
    noise = gaussian_filter(np.random.default_rng(seed).random((6, 14, 14)), 2.0)
    voxels = noise > np.quantile(noise, 0.8)
    geometry = make_geometry(voxels.shape, spacing_mm=spacing_mm)
    found = dataclasses.astuple(measure_diameters(voxels, geometry))
    for axes in ((0, 1, 2), (0, 2, 1)):
        for flipped in itertools.chain.from_iterable(itertools.combinations(range(3), count) for count in range(4)):
            turned = np.ascontiguousarray(np.flip(voxels.transpose(axes), flipped))
            assert dataclasses.astuple(measure_diameters(turned, geometry)) == pytest.approx(found, abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_diameters_are_ordered(seed: int) -> None:
    """Perpendicular <= longest axial <= longest, for any lesion on any grid."""
    random = np.random.default_rng(seed)
    voxels = random.random((4, 5, 6)) > 0.7
    voxels[0, 0, 0] = True
    directions = AXIAL if seed % 2 else Rotation.random(random_state=seed).as_matrix()
    geometry = make_geometry(voxels.shape, spacing_mm=(3.0, 0.7, 1.1), directions=directions)
    found = measure_diameters(voxels, geometry)
    rounding_mm = 1e-9
    assert found.perpendicular_axial_mm <= found.longest_axial_mm + rounding_mm
    assert found.longest_axial_mm <= found.longest_mm + rounding_mm


@given(seed=st.integers(0, 2**32 - 1))
def test_no_pair_of_voxels_is_farther_apart_than_the_longest(seed: int) -> None:
    """The convex hulls leave no pair of points out."""
    voxels = np.random.default_rng(seed).random((5, 6, 7)) > 0.8
    voxels[2, 3, 3] = True
    geometry = make_geometry(voxels.shape, spacing_mm=(2.0, 1.0, 0.5), directions=OBLIQUE)
    faces = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    points_mm = geometry.index_to_world((np.argwhere(voxels)[:, np.newaxis] + faces).reshape(-1, 3))
    farthest_mm = np.linalg.norm(points_mm[:, np.newaxis] - points_mm, axis=-1).max()
    found = measure_diameters(voxels, geometry)
    assert found.longest_mm >= farthest_mm - 1e-9
