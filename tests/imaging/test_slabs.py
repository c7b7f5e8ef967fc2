"""Slabs are the cheapest that there are, of all ways to cut a volume."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmets.imaging import slabs
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.slabs import plan_slabs
from brainmets.imaging.tile_contract import TileContract

CONTRACT = TileContract(
    sequences=(Sequence.T1C,), spacing_mm=1.0, depth=4, halo=2, stride=4, max_size=64, overlap=0.125
)

BRAIN_CONTRACT = dataclasses.replace(CONTRACT, depth=24, halo=6, stride=16, max_size=256)


def cost(wanted: np.ndarray, contract: TileContract) -> float:
    """Return what the tile of a slab (D, H, W) costs, told apart from the code's own way to find it."""
    box = find_bounding_box(wanted)
    if box is None:
        return 0.0
    _, height, width = (contract.stride * -(-length // contract.stride) for length in box.shape)
    return height * width * (len(wanted) + slabs.CONTEXT_COST * 2 * contract.halo) + slabs.TILE_COST_VOXELS


def all_cuts(count: int, *, depth: int) -> list[list[tuple[int, int]]]:
    """Return every way to cut so many slices into slabs."""
    ways = []
    for chosen in itertools.product((False, True), repeat=count - 1):
        ends = [0, *(place + 1 for place, cut in enumerate(chosen) if cut), count]
        pieces = list(itertools.pairwise(ends))
        if all(stop - start <= depth for start, stop in pieces):
            ways.append(pieces)
    return ways


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.003, 0.02, 0.3]),
    tile_cost=st.sampled_from([0, 10, 100, 1000]),
    halo=st.integers(0, 6),
)
def test_no_other_cut_costs_less(
    shape: tuple[int, int, int], seed: int, share: float, tile_cost: int, halo: int
) -> None:
    """Beside every way there is to cut a small volume."""
    wanted = np.random.default_rng(seed).random(shape) < share
    contract = dataclasses.replace(CONTRACT, halo=halo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "TILE_COST_VOXELS", tile_cost)
        planned = plan_slabs(wanted, contract)
        box = find_bounding_box(wanted)
        if box is None:
            assert planned == []
            return
        first, last = box.start[0], box.stop[0]
        assert [planned[0][0], planned[-1][1]] == [first, last]
        assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(planned))
        assert all(0 < stop - start <= contract.depth for start, stop in planned)
        own = sum(cost(wanted[start:stop], contract) for start, stop in planned)
        least = min(
            sum(cost(wanted[first + start : first + stop], contract) for start, stop in way)
            for way in all_cuts(last - first, depth=contract.depth)
        )
    assert own == pytest.approx(least)


def two_planes(shape: tuple[int, int]) -> np.ndarray:
    """Return 12 slices of 160 x 256 wanted voxels and 8 more of a smaller plane."""
    wanted = np.zeros((20, 160, 256), dtype=np.bool_)
    wanted[:12] = True
    wanted[12:, : shape[0], : shape[1]] = True
    return wanted


def test_a_head_is_cut_where_its_plane_changes() -> None:
    """The narrow top is not decided in the plane of the wide middle, though both would fit one slab."""
    assert plan_slabs(two_planes((64, 64)), BRAIN_CONTRACT) == [(0, 12), (12, 20)]


def test_a_tile_more_must_be_worth_it() -> None:
    """Here it would save 20,480 voxels, less than a tile costs beside its context."""
    assert plan_slabs(two_planes((160, 240)), dataclasses.replace(BRAIN_CONTRACT, halo=0)) == [(0, 20)]


def test_context_weighs_too() -> None:
    """A slab of its own saves 65,536 voxels, twice what a tile costs; but its context comes on top."""
    wanted = two_planes((128, 256))
    assert plan_slabs(wanted, dataclasses.replace(BRAIN_CONTRACT, halo=0)) == [(0, 12), (12, 20)]
    assert plan_slabs(wanted, BRAIN_CONTRACT) == [(0, 20)]
