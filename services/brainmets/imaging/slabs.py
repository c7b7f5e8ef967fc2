"""Owns slabs: which axial slices of a volume share tiles, so that all tiles together cost least.

The fewer slices share a plane, the closer it fits what must be decided in each of them; and the more tiles there are.
"""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.tile_contract import TileContract

# What a tile costs beside the voxels that it decides, told as that many of them: each voxel of its context is cut, sent
# and placed, but not decided,
CONTEXT_COST = 0.1
# and calls, copies and another shape cost something for the tile as a whole.
TILE_COST_VOXELS = 30_000

Lines = NDArray[np.intp]
"""A row or column of each slice (D,)."""


def plan_slabs(wanted: NDArray[np.bool_], contract: TileContract) -> list[tuple[int, int]]:
    """Return the first slices and ends of the slabs that cost least together, from the first wanted slice to the last.

    The cheapest slabs of the first slices are those of fewer slices and one more, so that no choice is left out
    (Bellman 1958, Quarterly of Applied Mathematics 16:87, equation 2). A slab without a wanted voxel costs nothing.

    Args:
        wanted: (D, H, W), the voxels that must be decided.
        contract: How the network wants its tiles.
    """
    box = find_bounding_box(wanted)
    if box is None:
        return []
    inside = wanted[box.slices]
    rows, columns = _find_extents(np.any(inside, axis=2)), _find_extents(np.any(inside, axis=1))
    costs, starts = [0.0], [0]
    for stop in range(1, len(inside) + 1):
        # Slabs that end here, by their first slice: the thinnest is the last one.
        first = max(0, stop - contract.depth)
        depths = np.arange(stop - first, 0, -1)
        area = _find_lengths(rows, first, stop, contract.stride) * _find_lengths(columns, first, stop, contract.stride)
        own = area * (depths + CONTEXT_COST * 2 * contract.halo) + TILE_COST_VOXELS * (area > 0)
        together = np.array(costs[first:stop]) + own
        cheapest = int(together.argmin())
        costs.append(float(together[cheapest]))
        starts.append(first + cheapest)
    slabs = []
    stop = len(inside)
    while stop:
        slabs.append((box.start[0] + starts[stop], box.start[0] + stop))
        stop = starts[stop]
    return slabs[::-1]


def _find_extents(lines: NDArray[np.bool_]) -> tuple[Lines, Lines]:
    """Return the first wanted line of each slice (D, N) and the end of its last; N and 0 where there is none."""
    count = lines.shape[1]
    filled = lines.any(axis=1)
    return np.where(filled, lines.argmax(axis=1), count), np.where(filled, count - lines[:, ::-1].argmax(axis=1), 0)


def _find_lengths(extents: tuple[Lines, Lines], first: int, stop: int, stride: int) -> Lines:
    """Return how long a tile is on one axis that holds slices up to `stop`, by its first slice."""
    firsts, ends = (lines[first:stop][::-1] for lines in extents)
    lengths = np.maximum(np.maximum.accumulate(ends) - np.minimum.accumulate(firsts), 0)
    rounded: Lines = stride * -(-lengths // stride)
    return rounded[::-1]
