"""Owns the way back from tiles to a volume: each is blended in as it comes, weighted where tiles overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.tiling import Index, TileGrid

# Standard deviation of a tile's weight as a fraction of its size: nnU-Net's value (Isensee et al. 2021,
# Nature Methods 18:203, supplementary note 4). A network knows least about a tile's border.
WEIGHT_SIGMA_FRACTION = 0.125


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityTile:
    """What a network says about one tile.

    Attributes:
        index: The tile's place in `TileGrid.origins`.
        origin: First voxel that it decides.
        probability: (D, H, W), in [0, 1].
    """

    index: int
    origin: Index
    probability: NDArray[np.float32]


class ProbabilityAccumulator:
    """Blends a volume's tiles one by one into one map, the only array of the volume's size that it holds.

    On an axis on which tiles overlap, a tile is weighted by a Gaussian, and the weights of all tiles that
    share a voxel sum to one; elsewhere it is copied as it is. A tile that the grid left out counts as zeros.
    """

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._missing = set(range(len(grid.origins)))
        self._voxels = np.zeros(grid.volume_shape, dtype=np.float32)  # (D, H, W)
        self._weights = tuple(
            _axis_weights(sorted({origin[axis] for origin in grid.origins}), grid.tile_shape[axis], axis=axis)
            for axis in range(3)
        )

    def add(self, tile: ProbabilityTile) -> None:
        """Blend one tile in.

        Raises:
            InternalError: The tile is none of the grid's, or was added before.
        """
        self._check(tile)
        place = tuple(
            slice(start, min(start + size, limit))
            for start, size, limit in zip(tile.origin, self._grid.tile_shape, self._grid.volume_shape, strict=True)
        )
        weighted = tile.probability
        for weights, start in zip(self._weights, tile.origin, strict=True):
            if start in weights:
                weighted = weighted * weights[start]
        # A tile may pass the volume's far end; what lies there is decided about nothing.
        self._voxels[place] += weighted[tuple(slice(0, axis.stop - axis.start) for axis in place)]
        self._missing.remove(tile.index)

    def finish(self, geometry: Geometry) -> ProbabilityMap:
        """Return the blended map on the volume's grid.

        Raises:
            InternalError: A planned tile was never added.
        """
        if self._missing:
            raise _misfit(f"{len(self._grid.origins)} tiles", f"all but {len(self._missing)} of them")
        return ProbabilityMap(self._voxels, geometry)

    def _check(self, tile: ProbabilityTile) -> None:
        origins = self._grid.origins
        if not 0 <= tile.index < len(origins) or tile.origin != origins[tile.index]:
            raise _misfit("a tile of the planned grid", f"tile {tile.index} at {tile.origin}")
        if tile.index not in self._missing:
            raise _misfit("each tile once", f"tile {tile.index} again")
        if tile.probability.shape != self._grid.tile_shape:
            raise _misfit(f"a tile of shape {self._grid.tile_shape}", f"{tile.probability.shape}")


def _axis_weights(starts: list[int], size: int, *, axis: int) -> dict[int, NDArray[np.float32]]:
    """Return the share of each voxel that a tile has on this axis, by first voxel, where it overlaps others.

    The shares are shaped to multiply a tile (D, H, W).
    """
    gaussian = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (WEIGHT_SIGMA_FRACTION * size)) ** 2)
    total = np.zeros(max(starts, default=0) + size)
    for start in starts:
        total[start : start + size] += gaussian
    overlapping = [start for start in starts if any(0 < abs(start - other) < size for other in starts)]
    shape = tuple(size if each == axis else 1 for each in range(3))
    return {start: (gaussian / total[start : start + size]).astype(np.float32).reshape(shape) for start in overlapping}


def _misfit(expected: str, got: str) -> InternalError:
    return InternalError(
        "The parts of a probability map do not fit together",
        expected=expected,
        got=got,
        remedy="report it as a defect of brainmets",
    )
