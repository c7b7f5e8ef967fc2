"""Owns the way back from tiles to a volume: each is blended in as it comes, weighted where tiles overlap."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.tiling import TileGrid

# Standard deviation of a tile's weight as a fraction of its size: nnU-Net's value (Isensee et al. 2021,
# Nature Methods 18:203, supplementary note 4). A network knows least about a tile's border.
WEIGHT_SIGMA_FRACTION = 0.125


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityTile:
    """What a network says about one tile.

    Attributes:
        index: The tile's place in `TileGrid.boxes`.
        probability: (D, H, W), in [0, 1].
    """

    index: int
    probability: NDArray[np.float32]


class ProbabilityAccumulator:
    """Blends a volume's tiles one by one into one map, the only array of the volume's size that it holds.

    On an axis on which tiles overlap, a tile is weighted by a Gaussian, and the weights of all tiles that
    share a voxel sum to one; elsewhere it is copied as it is. A tile that the grid left out counts as zeros.
    """

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._missing = set(range(len(grid.boxes)))
        self._voxels = np.zeros(grid.volume_shape, dtype=np.float32)  # (D, H, W)

    def add(self, tile: ProbabilityTile) -> None:
        """Blend one tile in.

        Raises:
            InternalError: The tile is none of the grid's, or was added before.
        """
        self._check(tile)
        weighted = tile.probability
        for weights in _tile_weights(self._grid, tile.index):
            weighted = weighted * weights
        # A tile may pass the volume's far end; what lies there is decided about nothing.
        place, inside = self._grid.decided_place(tile.index)
        self._voxels[place] += weighted[inside]
        self._missing.remove(tile.index)

    def finish(self, geometry: Geometry) -> ProbabilityMap:
        """Return the blended map on the volume's grid.

        Raises:
            InternalError: A planned tile was never added.
        """
        if self._missing:
            raise _misfit(f"{len(self._grid.boxes)} tiles", f"all but {len(self._missing)} of them")
        return ProbabilityMap(self._voxels, geometry)

    def _check(self, tile: ProbabilityTile) -> None:
        boxes = self._grid.boxes
        if not 0 <= tile.index < len(boxes):
            raise _misfit("a tile of the planned grid", f"tile {tile.index}")
        if tile.index not in self._missing:
            raise _misfit("each tile once", f"tile {tile.index} again")
        if tile.probability.shape != boxes[tile.index].shape:
            raise _misfit(f"a tile of shape {boxes[tile.index].shape}", f"{tile.probability.shape}")


def _tile_weights(grid: TileGrid, index: int) -> Iterator[NDArray[np.float32]]:
    """Yield a tile's share of its voxels on each axis on which it overlaps others, shaped to multiply it (D, H, W)."""
    box = grid.boxes[index]
    neighbours = [other for other in grid.boxes if other.start[0] == box.start[0]]
    for axis in (1, 2):
        starts = {other.start[axis] for other in neighbours}
        if len(starts) > 1:
            shape = tuple(size if each == axis else 1 for each, size in enumerate(box.shape))
            yield _axis_share(box.start[axis], starts, box.shape[axis]).reshape(shape)


def _axis_share(start: int, starts: AbstractSet[int], size: int) -> NDArray[np.float32]:
    """Return the share of each voxel that the tile that begins at `start` has, of all that begin at `starts`."""
    gaussian = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (WEIGHT_SIGMA_FRACTION * size)) ** 2)
    total = np.zeros(size)
    for other in starts:
        shift = other - start
        if abs(shift) < size:
            total[max(0, shift) : size + min(0, shift)] += gaussian[max(0, -shift) : size - max(0, shift)]
    share: NDArray[np.float32] = (gaussian / total).astype(np.float32)
    return share


def _misfit(expected: str, got: str) -> InternalError:
    return InternalError(
        "The parts of a probability map do not fit together",
        expected=expected,
        got=got,
        remedy="report it as a defect of brainmets",
    )
