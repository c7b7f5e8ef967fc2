"""Tiles cover what is occupied, fit it slab by slab, and cost little to send."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmets.imaging.errors import InternalError, ModelContractError
from brainmets.imaging.geometry import Box
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import (
    Tile,
    TileGrid,
    crop_tile,
    cropped_shape,
    plan_tiles,
    spread_shape,
    spread_tile,
)
from imaging_cases import normalized_volume

CONTRACT = TileContract(
    sequences=(Sequence.T1C, Sequence.T2F),
    spacing_mm=1.0,
    depth=20,
    halo=2,
    stride=16,
    max_size=256,
    overlap=0.125,
)
SMALL = dataclasses.replace(CONTRACT, depth=3, halo=1, stride=4, max_size=8, overlap=0.25)

shapes = st.tuples(st.integers(1, 20), st.integers(1, 30), st.integers(1, 30))


def covered(grid: TileGrid) -> np.ndarray:
    """Return which voxels of the volume are decided by some tile."""
    decided = np.zeros(grid.volume_shape, dtype=np.bool_)
    for box in grid.boxes:
        decided[box.slices] = True
    return decided


@given(shape=shapes)
def test_every_voxel_is_covered(shape: tuple[int, int, int]) -> None:
    """Tiles leave no voxel of a volume undecided, whatever its shape."""
    assert covered(plan_tiles(shape, SMALL)).all()


@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_every_occupied_voxel_is_covered(shape: tuple[int, int, int], seed: int) -> None:
    """Tiles leave no occupied voxel undecided, wherever it lies."""
    occupied = np.random.default_rng(seed).random(shape) > 0.99
    assert (covered(plan_tiles(shape, SMALL, occupied=occupied)) >= occupied).all()


@given(shape=shapes)
def test_tiles_keep_the_contract(shape: tuple[int, int, int]) -> None:
    """No tile is deeper or wider than the contract allows, and the network's poolings divide its plane."""
    for box in plan_tiles(shape, SMALL).boxes:
        depth, height, width = box.shape
        assert depth <= SMALL.depth
        assert max(height, width) <= SMALL.max_size
        assert height % SMALL.stride == width % SMALL.stride == 0


@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_slabs_share_no_slice_and_have_one_shape(shape: tuple[int, int, int], seed: int) -> None:
    """What the grid promises, and blending takes for granted."""
    occupied = np.random.default_rng(seed).random(shape) > 0.98
    slabs: dict[int, set[tuple[int, int, int]]] = {}
    for box in plan_tiles(shape, SMALL, occupied=occupied).boxes:
        slabs.setdefault(box.start[0], set()).add(box.shape)
    assert all(len(shapes_of_one) == 1 for shapes_of_one in slabs.values())
    ends = [start + shapes_of_one.pop()[0] for start, shapes_of_one in slabs.items()]
    assert all(end <= start for end, start in zip(ends, list(slabs)[1:], strict=False))


@given(length=st.integers(9, 100), overlap=st.floats(0.0, 0.9))
def test_neighbours_in_the_plane_overlap_enough(length: int, overlap: float) -> None:
    """Tiles that split a plane share the contract's fraction of their size, to the voxel."""
    contract = dataclasses.replace(SMALL, overlap=overlap, max_size=40)
    grid = plan_tiles((1, length, 4), contract)
    rows = [box.start[1] for box in grid.boxes]
    assert all(np.diff(rows) <= grid.boxes[0].shape[1] * (1.0 - overlap) + 1.0)


@pytest.mark.parametrize(("size", "overlap"), [(1, 0.5), (5, 0.8), (5, 0.9)])
def test_no_tile_is_planned_twice(size: int, overlap: float) -> None:
    """However small the step between two of them: else both would count in full."""
    contract = dataclasses.replace(SMALL, stride=1, max_size=size, overlap=overlap)
    boxes = plan_tiles((1, 30, 28), contract).boxes
    assert len(set(boxes)) == len(boxes)


def test_a_thin_volume_is_one_slab() -> None:
    """What fits one slab is not split."""
    assert plan_tiles((20, 16, 16), CONTRACT).boxes == (Box((0, 0, 0), (20, 16, 16)),)


def test_slabs_fit_the_occupied_box() -> None:
    """Slices and rows without a foreground are not decided."""
    occupied = np.zeros((60, 64, 64), dtype=np.bool_)
    occupied[10:50, 20:50, 30:33] = True
    boxes = plan_tiles(occupied.shape, CONTRACT, occupied=occupied).boxes
    assert boxes == (Box((10, 20, 30), (30, 52, 46)), Box((30, 20, 30), (50, 52, 46)))


def test_each_slab_fits_its_own_plane() -> None:
    """The top of a head costs less than its middle, and the last slab ends where the head does."""
    occupied = np.zeros((60, 64, 64), dtype=np.bool_)
    occupied[:20] = True
    occupied[20:39, 20:50, 30:33] = True
    boxes = plan_tiles(occupied.shape, CONTRACT, occupied=occupied).boxes
    assert boxes == (Box((0, 0, 0), (20, 64, 64)), Box((20, 20, 30), (39, 52, 46)))


def test_empty_tiles_are_left_out() -> None:
    """A tile between two islands of foreground is neither sent nor inferred."""
    occupied = np.zeros((80, 16, 16), dtype=np.bool_)
    occupied[[0, 79]] = True
    starts = [box.start for box in plan_tiles(occupied.shape, CONTRACT, occupied=occupied).boxes]
    assert starts == [(0, 0, 0), (79, 0, 0)]


def test_nothing_occupied_needs_no_tile() -> None:
    """An empty foreground plans no tile."""
    assert plan_tiles((8, 8, 8), CONTRACT, occupied=np.zeros((8, 8, 8), dtype=np.bool_)).boxes == ()


def test_a_tile_holds_its_voxels_and_its_context() -> None:
    """Slice d of a tile with halo h is slice origin + d - h of the volume, for every channel."""
    normalized = normalized_volume((60, 16, 16), channels=2)
    grid = plan_tiles((60, 16, 16), CONTRACT)
    tile = crop_tile(normalized, grid, index=1)
    assert grid.boxes[1] == Box((20, 0, 0), (40, 16, 16))
    np.testing.assert_array_equal(tile.voxels, normalized.voxels[:, 18:42])
    np.testing.assert_array_equal(
        spread_tile(tile, grid, present=CONTRACT.sequences, wanted=CONTRACT.sequences), tile.voxels
    )


@pytest.mark.parametrize("stored", [np.float32, np.float16])
def test_beyond_the_volume_is_zero(stored: type[np.floating]) -> None:
    """Halo and padding outside the volume are zeros, the value of an absent voxel, whatever was there before."""
    normalized = normalized_volume((5, 10, 10), channels=2)
    grid = plan_tiles((5, 10, 10), CONTRACT)
    voxels = normalized.voxels.astype(stored)
    used = np.full((2, *spread_shape(grid, index=0)), np.nan, dtype=np.float32)
    spread = spread_tile(Tile(0, voxels), grid, present=CONTRACT.sequences, wanted=CONTRACT.sequences, out=used)
    assert spread is used
    assert spread.shape == (2, 9, 16, 16)
    inside = np.zeros(spread.shape, dtype=np.bool_)
    inside[:, 2:7, :10, :10] = True
    np.testing.assert_array_equal(spread[inside], voxels.ravel())
    assert not spread[~inside].any()


@pytest.mark.parametrize("slices", range(136, 151))
@pytest.mark.parametrize("plane", [(174, 135), (190, 140), (161, 129), (177, 145)])
def test_a_brain_costs_little_more_than_its_voxels(slices: int, plane: tuple[int, int]) -> None:
    """Sent as float16, a brain's tiles with their context are at most 1.3 times its cropped volume."""
    margin = 2
    shape = (slices + 2 * margin, plane[0] + 2 * margin, plane[1] + 2 * margin)
    occupied = np.zeros(shape, dtype=np.bool_)
    occupied[margin:-margin, margin:-margin, margin:-margin] = True
    grid = plan_tiles(shape, CONTRACT, occupied=occupied)
    sent = sum(np.prod(cropped_shape(grid, index=index)) for index in range(len(grid.boxes)))
    assert sent <= 1.3 * np.prod(shape)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequences": ()},
        {"sequences": (Sequence.T1C, Sequence.T1C)},
        {"spacing_mm": 0.0},
        {"depth": 0},
        {"halo": -1},
        {"stride": 0},
        {"max_size": 250},
        {"overlap": 1.0},
    ],
)
def test_a_contract_that_no_tile_can_keep_is_refused(changes: dict[str, Any]) -> None:
    """A model's bad parameter is found when its contract is read, not in the middle of a study."""
    with pytest.raises(ModelContractError):
        dataclasses.replace(CONTRACT, **changes)


def test_missing_channels_are_zeros() -> None:
    """A network gets its channels in its own order."""
    grid = TileGrid((1, 2, 2), 0, (Box((0, 0, 0), (1, 2, 2)),))
    voxels = np.stack([np.full((1, 2, 2), 1.0, np.float32), np.full((1, 2, 2), 2.0, np.float32)])
    spread = spread_tile(Tile(0, voxels), grid, present=(Sequence.T2F, Sequence.T1C), wanted=tuple(Sequence))
    wanted = [2.0, 0.0, 0.0, 1.0]
    assert [channel.max() for channel in spread] == wanted


def test_an_unknown_channel_is_refused() -> None:
    """It would be lost without a word."""
    grid = TileGrid((1, 2, 2), 0, (Box((0, 0, 0), (1, 2, 2)),))
    tile = Tile(0, np.zeros((1, 1, 2, 2), np.float32))
    with pytest.raises(InternalError):
        spread_tile(tile, grid, present=(Sequence.T2F,), wanted=(Sequence.T1C,))
