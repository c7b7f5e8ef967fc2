"""Voxels keep their place and their meaning on the way from grid to grid."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from brainmets.imaging.errors import StudyTooLargeError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.resampling import axial_grid, grids_overlap, resample_like, resample_volume
from brainmets.imaging.volume import Volume
from imaging_cases import AXIAL, OBLIQUE, STEEP, axial_geometry, make_geometry

# All ways in which three array axes can run along the patient's: 6 orders and 8 senses.
ORIENTATIONS = [
    np.eye(3)[:, list(order)] * senses
    for order in itertools.permutations(range(3))
    for senses in itertools.product((1.0, -1.0), repeat=3)
]


CORNER_MM = (-30.0, 7.0, 11.0)


def store(directions: NDArray[np.float64]) -> Geometry:
    """Return the grid of 6 x 5 x 4 voxels of 1 mm from `CORNER_MM` on whose array axes run along `directions`."""
    # The world axes that they run along.
    order = np.abs(directions).argmax(axis=0)
    shape = tuple(np.array((6, 5, 4))[order].tolist())
    elsewhere = make_geometry(shape, directions=directions)
    origin_mm = np.array(CORNER_MM) - elsewhere.corners_mm().min(axis=0)
    return make_geometry(shape, directions=directions, origin_mm=tuple(origin_mm.tolist()))


def ramp_on(geometry: Geometry) -> Volume:
    """Return a volume whose intensity is a linear function of the place in the patient."""
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in geometry.shape), indexing="ij"), axis=-1)
    points_mm = geometry.index_to_world(indices.reshape(-1, 3))
    ramp = points_mm @ np.array([1.0, 10.0, 100.0]) + 5000.0
    return Volume(ramp.reshape(geometry.shape).astype(np.float32), geometry)


def test_a_grid_of_more_voxels_than_any_head_has_is_refused() -> None:
    """A small file's coarse voxels, askew, span a metre; half a metre each way is the most."""
    with pytest.raises(StudyTooLargeError, match="1020 x 962 x 928"):
        axial_grid(make_geometry((60, 60, 60), spacing_mm=(10.0, 10.0, 10.0), directions=STEEP), spacing_mm=1.0)
    assert axial_grid(axial_geometry((512, 512, 512)), spacing_mm=1.0).shape == (512, 512, 512)


@pytest.mark.parametrize("directions", ORIENTATIONS)
def test_every_orientation_comes_to_the_same_axial_voxels(directions: np.ndarray) -> None:
    """All 48 ways to store a volume lead to the same canonical one, without interpolation."""
    canonical = ramp_on(make_geometry((4, 5, 6), directions=AXIAL, origin_mm=CORNER_MM))
    stored = store(directions)
    grid = axial_grid(stored, spacing_mm=1.0)
    assert grid.matches(canonical.geometry)
    np.testing.assert_allclose(resample_volume(ramp_on(stored), grid).voxels, canonical.voxels, rtol=1e-6)


@pytest.mark.parametrize("directions", ORIENTATIONS)
@pytest.mark.parametrize("spacing_mm", [(0.7, 0.8, 0.9), (1.0, 0.8, 1.0)], ids=["all", "one"])
def test_every_orientation_is_interpolated_alike(
    directions: np.ndarray, spacing_mm: tuple[float, float, float]
) -> None:
    """All 48 ways to store a volume lead to the same values between its voxels, on some axes or all."""
    corner_mm = np.array(CORNER_MM) + 1.0
    grid = make_geometry((3, 4, 4), spacing_mm=spacing_mm, directions=AXIAL, origin_mm=tuple(corner_mm.tolist()))
    np.testing.assert_allclose(
        resample_volume(ramp_on(store(directions)), grid).voxels, ramp_on(grid).voxels, rtol=1e-6
    )


def test_an_angled_head_keeps_its_voxels() -> None:
    """A series angled along the skull base is seen in its own slices, uninterpolated, whatever their order."""
    voxels = np.random.default_rng(1).random((5, 6, 7), dtype=np.float32)
    straight = Volume(voxels, make_geometry(voxels.shape, directions=AXIAL))
    turned = OBLIQUE[:, [2, 0, 1]] * (1.0, -1.0, 1.0)
    stored = Volume(voxels.transpose(2, 0, 1)[:, ::-1], make_geometry((7, 5, 6), directions=turned))
    grid = axial_grid(stored.geometry, spacing_mm=1.0)
    np.testing.assert_array_equal(resample_volume(stored, grid).voxels, straight.voxels)
    assert (np.diag(grid.directions[::-1]) > 0.8).all()


@pytest.mark.parametrize("directions", [OBLIQUE, STEEP], ids=["angled", "steep"])
def test_the_axial_grid_holds_every_voxel_of_an_oblique_one(directions: NDArray[np.float64]) -> None:
    """No voxel centre of the acquired grid lies outside of all voxels."""
    acquired = make_geometry((20, 30, 25), spacing_mm=(3.0, 0.8, 0.8), directions=directions, origin_mm=(5.0, 6.0, 7.0))
    grid = axial_grid(acquired, spacing_mm=1.0)
    indices = grid.world_to_index(acquired.corners_mm())
    assert (indices > -1e-6).all()
    assert (indices < np.array(grid.shape) - 0.5 + 1e-2).all()


def test_a_linear_intensity_survives_a_finer_grid() -> None:
    """Linear interpolation is exact on a ramp, inside the volume."""
    source = ramp_on(make_geometry((6, 6, 6), spacing_mm=(4.0, 2.0, 2.0)))
    grid = make_geometry((10, 8, 8), origin_mm=(1.0, 1.0, 3.0))
    np.testing.assert_allclose(resample_volume(source, grid).voxels, ramp_on(grid).voxels, rtol=1e-6)


def test_a_linear_intensity_survives_an_oblique_grid() -> None:
    """The same holds between grids whose axes lean."""
    source = ramp_on(make_geometry((40, 40, 40), directions=OBLIQUE))
    centre_mm = source.geometry.index_to_world(np.array([[20.0, 20.0, 20.0]]))[0]
    grid = make_geometry((8, 8, 8), origin_mm=tuple((centre_mm - 4.0).tolist()))
    np.testing.assert_allclose(resample_volume(source, grid).voxels, ramp_on(grid).voxels, rtol=1e-4)


@pytest.mark.parametrize("shape", [(7, 8, 9), (1, 8, 9), (7, 1, 9), (7, 8, 1)])
def test_interpolation_between_parallel_grids_is_trilinear(shape: tuple[int, int, int]) -> None:
    """An independent implementation gives the same values, also of a single slice, row or column."""
    voxels = np.random.default_rng(0).random(shape, dtype=np.float32)
    source = ProbabilityMap(voxels, axial_geometry(voxels.shape))
    d, h, w = (min(9, 9 * size - 8) for size in shape)
    grid = make_geometry((d, h, w), spacing_mm=(0.6, 0.7, 0.8), origin_mm=(0.3, 0.2, 0.1))
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = source.geometry.world_to_index(grid.index_to_world(indices)).T
    expected = map_coordinates(voxels, places, order=1, mode="nearest").reshape(grid.shape)
    np.testing.assert_allclose(resample_like(source, grid).voxels, expected, atol=1e-5)


def test_an_axis_that_meets_voxels_keeps_them() -> None:
    """By less than a thousandth of a voxel nothing is mixed, though another axis is interpolated."""
    source = Volume(np.random.default_rng(0).random((7, 8, 9), dtype=np.float32), axial_geometry((7, 8, 9)))
    there, nearby = (
        resample_volume(source, make_geometry((7, 8, 9), spacing_mm=(1.0, 1.0, 0.8), origin_mm=(0.0, y_mm, z_mm)))
        for y_mm, z_mm in ((0.0, 0.0), (5e-4, 5e-4))
    )
    np.testing.assert_array_equal(there.voxels, nearby.voxels)


def test_finer_intensities_are_averaged() -> None:
    """A checkerboard of half-millimetre voxels is grey at one millimetre, and not black or white."""
    board = np.indices((16, 16, 16)).sum(axis=0) % 2
    source = Volume(board.astype(np.float32), make_geometry((16, 16, 16), spacing_mm=(0.5, 0.5, 0.5)))
    inside = resample_volume(source, axial_geometry((8, 8, 8))).voxels[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)


def test_beyond_the_volume_there_is_nothing() -> None:
    """A larger grid is zero where nothing was acquired, and has every voxel where there was."""
    source = ramp_on(make_geometry((4, 4, 4)))
    grid = make_geometry((10, 10, 10), origin_mm=(-3.0, -3.0, -3.0))
    resampled = resample_volume(source, grid).voxels
    np.testing.assert_array_equal(resampled[3:7, 3:7, 3:7], source.voxels)
    assert np.count_nonzero(resampled) == source.voxels.size


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE])
def test_probabilities_come_back_onto_the_acquired_grid(directions: np.ndarray) -> None:
    """There and back a smooth map is the same to a few per cent."""
    acquired = make_geometry((30, 30, 30), directions=directions)
    indices = np.indices(acquired.shape) - 14.5
    smooth = np.exp(-(indices**2).sum(axis=0) / 60.0).astype(np.float32)
    grid = axial_grid(acquired, spacing_mm=1.0)
    there = resample_volume(Volume(smooth, acquired), grid)
    back = resample_like(ProbabilityMap(there.voxels, grid), acquired)
    assert np.abs(back.voxels - smooth).max() < 0.05


@pytest.mark.parametrize(("count", "spacing_mm"), [(24, 5.2), (24, 5.0), (25, 0.7), (24, 0.5), (25, 0.5)])
@pytest.mark.parametrize("place", [0, -1])
def test_the_outermost_slices_come_back(count: int, spacing_mm: float, place: int) -> None:
    """What is found in an outermost slice is found there, however thick slices are."""
    acquired = make_geometry((count, 20, 20), spacing_mm=(spacing_mm, 1.0, 1.0))
    blob = np.zeros(acquired.shape, dtype=np.float32)
    blob[place, 5:15, 5:15] = 1.0
    grid = axial_grid(acquired, spacing_mm=1.0)
    there = resample_volume(Volume(blob, acquired), grid)
    back = resample_like(ProbabilityMap(there.voxels, grid), acquired)
    assert back.voxels[place, 10, 10] > 0.2
    assert back.voxels[place, 10, 10] == back.voxels.max()


def test_grids_side_by_side_do_not_overlap() -> None:
    """Fields of view that touch share nothing; nested ones do."""
    near, far = make_geometry((20, 20, 20)), make_geometry((20, 20, 20), origin_mm=(19.0, 0.0, 0.0))
    assert not grids_overlap(near, far)
    assert grids_overlap(near, make_geometry((8, 8, 8), origin_mm=(5.0, 5.0, 5.0)))
