"""Tiles that say the truth blend into the truth, and nothing is missing or counted twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmets.imaging.blending import ProbabilityAccumulator, ProbabilityTile
from brainmets.imaging.errors import InternalError
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import TileGrid, crop_tile, plan_tiles, spread_tile
from imaging_cases import axial_geometry, normalized_volume

CONTRACT = TileContract(sequences=(Sequence.T1C,), spacing_mm=1.0, depth=3, halo=1, stride=4, max_size=8, overlap=0.25)
shapes = st.tuples(st.integers(1, 20), st.integers(1, 30), st.integers(1, 30))


def make_tile(grid: TileGrid, index: int, *, value: float = 0.5) -> ProbabilityTile:
    """Return a tile that says the same everywhere."""
    return ProbabilityTile(index, np.full(grid.boxes[index].shape, value, dtype=np.float32))


@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_cutting_and_blending_is_the_identity(shape: tuple[int, int, int], seed: int) -> None:
    """Tiles that carry a volume's own values blend, in any order, into that volume."""
    random = np.random.default_rng(seed)
    normalized = normalized_volume(shape, channels=1)
    grid = plan_tiles(shape, CONTRACT)
    accumulator = ProbabilityAccumulator(grid)
    for index in random.permutation(len(grid.boxes)).tolist():
        tile = spread_tile(
            crop_tile(normalized, grid, index=index), grid, present=CONTRACT.sequences, wanted=CONTRACT.sequences
        )
        accumulator.add(ProbabilityTile(index, tile[0, grid.halo : -grid.halo]))
    blended = accumulator.finish(axial_geometry(shape))
    np.testing.assert_allclose(blended.voxels, normalized.voxels[0], atol=1e-6)


def test_without_overlap_blending_is_bit_exact() -> None:
    """Where one tile decides alone, its own values come out."""
    normalized = normalized_volume((6, 8, 8), channels=1)
    grid = plan_tiles((6, 8, 8), CONTRACT)
    accumulator = ProbabilityAccumulator(grid)
    for index, box in enumerate(grid.boxes):
        accumulator.add(ProbabilityTile(index, normalized.voxels[0, *box.slices]))
    np.testing.assert_array_equal(accumulator.finish(axial_geometry((6, 8, 8))).voxels, normalized.voxels[0])


@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_occupied_voxels_are_blended_whole(shape: tuple[int, int, int], seed: int) -> None:
    """Leaving out empty tiles takes nothing from a voxel that is occupied."""
    occupied = np.random.default_rng(seed).random(shape) > 0.98
    grid = plan_tiles(shape, CONTRACT, occupied=occupied)
    accumulator = ProbabilityAccumulator(grid)
    for index in range(len(grid.boxes)):
        accumulator.add(make_tile(grid, index, value=1.0))
    np.testing.assert_allclose(accumulator.finish(axial_geometry(shape)).voxels[occupied], 1.0, atol=1e-6)


def test_a_left_out_tile_is_zero() -> None:
    """Where nothing was inferred, nothing was found."""
    occupied = np.zeros((12, 4, 4), dtype=np.bool_)
    occupied[[0, 11]] = True
    grid = plan_tiles(occupied.shape, CONTRACT, occupied=occupied)
    accumulator = ProbabilityAccumulator(grid)
    accumulator.add(make_tile(grid, 0))
    accumulator.add(make_tile(grid, 1))
    blended = accumulator.finish(axial_geometry(occupied.shape))
    assert not blended.voxels[3:9].any()


def test_the_middle_of_a_tile_weighs_more_than_its_border() -> None:
    """Where two tiles disagree, the one whose middle is nearer prevails."""
    grid = plan_tiles((1, 4, 14), CONTRACT)
    assert [box.start[2] for box in grid.boxes] == [0, 4, 8]
    accumulator = ProbabilityAccumulator(grid)
    for index, value in enumerate((0.0, 1.0, 1.0)):
        accumulator.add(make_tile(grid, index, value=value))
    blended = accumulator.finish(axial_geometry((1, 4, 14))).voxels[0, 0]
    assert 0.0 < blended[4] < 0.1
    assert 0.9 < blended[7] < 1.0


def test_a_tile_added_twice_is_refused() -> None:
    """A repeated tile would count double."""
    grid = plan_tiles((6, 4, 4), CONTRACT)
    accumulator = ProbabilityAccumulator(grid)
    accumulator.add(make_tile(grid, 0))
    with pytest.raises(InternalError):
        accumulator.add(make_tile(grid, 0))


def test_a_missing_tile_is_refused() -> None:
    """A map with a hole would read as "no lesion" there."""
    grid = plan_tiles((6, 4, 4), CONTRACT)
    accumulator = ProbabilityAccumulator(grid)
    accumulator.add(make_tile(grid, 0))
    with pytest.raises(InternalError):
        accumulator.finish(axial_geometry((6, 4, 4)))


@pytest.mark.parametrize(
    "tile",
    [
        ProbabilityTile(2, np.zeros((3, 4, 4), dtype=np.float32)),
        ProbabilityTile(-1, np.zeros((3, 4, 4), dtype=np.float32)),
        ProbabilityTile(1, np.zeros((5, 4, 4), dtype=np.float32)),
    ],
)
def test_a_tile_of_another_grid_is_refused(tile: ProbabilityTile) -> None:
    """An unknown index or another shape is not pasted anywhere."""
    accumulator = ProbabilityAccumulator(plan_tiles((6, 4, 4), CONTRACT))
    with pytest.raises(InternalError):
        accumulator.add(tile)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value: float) -> None:
    """NaN and values outside [0, 1] never become a map."""
    with pytest.raises(InternalError):
        ProbabilityMap(np.full((2, 2, 2), value, dtype=np.float32), axial_geometry((2, 2, 2)))


def test_voxels_of_another_shape_are_refused() -> None:
    """A map's voxels fit its grid."""
    with pytest.raises(InternalError):
        ProbabilityMap(np.zeros((2, 2, 2), dtype=np.float32), axial_geometry((2, 2, 3)))
