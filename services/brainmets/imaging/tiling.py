"""Owns tiles: how a normalised volume is cut into pieces that a network decides one at a time.

A tile decides a slab of axial slices and sees `halo` more on either side. In the plane it covers the box of what must
be decided in its slab, so that the base and the top of a brain cost less than its middle; where that box is larger than
the contract allows, several tiles share it and overlap.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box
from brainmets.imaging.half_precision import to_single
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.slabs import plan_slabs
from brainmets.imaging.tile_contract import TileContract

Index = tuple[int, int, int]
"""A voxel index or a shape on the axes (slice, row, column)."""
Place = tuple[slice, slice, slice]
"""A part of an array on the same axes."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where a volume's tiles lie.

    Attributes:
        volume_shape: (D, H, W) of the volume that is cut.
        halo: Slices of context on either side of what a tile decides.
        boxes: What each tile decides. Those that begin with the same slice have one shape and may overlap; others share
            no voxel. A box begins inside the volume and may pass its far end in the plane.
    """

    volume_shape: Index
    halo: int
    boxes: tuple[Box, ...]

    def decided_place(self, index: int) -> tuple[Place, Place]:
        """Return what a tile decides inside the volume: where that lies in the volume, and where in the decided box."""
        return self._place(self.boxes[index])

    def seen_place(self, index: int) -> tuple[Place, Place]:
        """Return what a tile sees of the volume: where that lies in the volume, and where in the tile with its halo."""
        box = self.boxes[index]
        return self._place(Box((box.start[0] - self.halo, *box.start[1:]), (box.stop[0] + self.halo, *box.stop[1:])))

    def _place(self, box: Box) -> tuple[Place, Place]:
        inside = box.clipped(self.volume_shape)
        return inside.slices, inside.seen_from(box.start).slices


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One piece of a volume, with its context.

    Attributes:
        index: Its place in `TileGrid.boxes`.
        voxels: (C, D, H, W), normalised intensities of what of it lies inside the volume (`TileGrid.seen_place`): what
            is worth sending.
    """

    index: int
    voxels: NDArray[np.floating]


def plan_tiles(shape: Index, contract: TileContract, *, occupied: NDArray[np.bool_] | None = None) -> TileGrid:
    """Return the tiles that cover the occupied voxels, without those that hold none of them.

    Args:
        shape: (D, H, W) of the volume.
        contract: How the network wants its tiles.
        occupied: (D, H, W), the voxels that must be decided; all of them when left out.
    """
    wanted = np.ones(shape, dtype=np.bool_) if occupied is None else occupied
    boxes = tuple(
        box
        for start, stop in plan_slabs(wanted, contract)
        for box in _plan_slab(start, stop, wanted[start:stop], contract=contract)
        if wanted[box.slices].any()
    )
    return TileGrid(shape, contract.halo, boxes)


def _plan_slab(start: int, stop: int, wanted: NDArray[np.bool_], *, contract: TileContract) -> Iterator[Box]:
    """Yield the tiles that share the plane of a slab, whose wanted voxels are given."""
    plane = find_bounding_box(wanted)
    if plane is None:
        return
    rows, columns = (
        _plan_axis(plane.start[axis], plane.stop[axis], limit=wanted.shape[axis], contract=contract) for axis in (1, 2)
    )
    for (top, bottom), (left, right) in itertools.product(rows, columns):
        yield Box((start, top, left), (stop, bottom, right))


def _plan_axis(start: int, stop: int, *, limit: int, contract: TileContract) -> list[tuple[int, int]]:
    """Return the tiles' first voxels and ends on one in-plane axis of a volume with `limit` voxels."""
    length = _round_up(stop - start, contract.stride)
    start = max(0, min(start, limit - length))
    if length <= contract.max_size:
        return [(start, start + length)]
    fresh = 1.0 - contract.overlap
    count = 1 + math.ceil((length - contract.max_size) / (contract.max_size * fresh))
    # A rounding error must not lift a size that fits exactly above the largest.
    size = min(_round_up(length / (1.0 + (count - 1) * fresh), contract.stride), contract.max_size)
    # Steps of less than a voxel would name a tile twice.
    firsts = {start + round(step * (length - size) / (count - 1)) for step in range(count)}
    return [(first, first + size) for first in sorted(firsts)]


def _round_up(length: float, stride: int) -> int:
    return stride * math.ceil(length / stride)


def crop_tile(normalized: NormalizedVolume, grid: TileGrid, *, index: int) -> Tile:
    """Return one tile of a normalised volume, a view of it."""
    inside, _ = grid.seen_place(index)
    return Tile(index, normalized.voxels[:, *inside])


def cropped_shape(grid: TileGrid, *, index: int) -> Index:
    """Return the shape (D, H, W) of a tile's part inside the volume."""
    d, h, w = (axis.stop - axis.start for axis in grid.seen_place(index)[0])
    return d, h, w


def spread_shape(grid: TileGrid, *, index: int) -> Index:
    """Return the shape (D + 2 halo, H, W) of a tile as a network takes it."""
    depth, height, width = grid.boxes[index].shape
    return depth + 2 * grid.halo, height, width


def spread_tile(
    tile: Tile,
    grid: TileGrid,
    *,
    present: tuple[Sequence, ...],
    wanted: tuple[Sequence, ...],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return a tile as a network takes it (C, D + 2 halo, H, W), zeros beyond the volume and where a sequence lacks.

    Args:
        tile: The tile.
        grid: Where it lies.
        present: Its channels, in order.
        wanted: The network's.
        out: Where it is put, contiguous; memory of its own when left out.

    Raises:
        InternalError: The study has a sequence that the network does not know.
    """
    if not set(present) <= set(wanted):
        raise InternalError(
            "The study has a sequence that the network does not know",
            expected=", ".join(wanted),
            got=", ".join(present),
            remedy="run the same version of gateway and preprocessing",
        )
    spread = np.empty((len(wanted), *spread_shape(grid, index=tile.index)), np.float32) if out is None else out
    _, inside = grid.seen_place(tile.index)
    for channel, sequence in zip(spread, wanted, strict=True):
        fills = sequence in present and channel[inside].shape == channel.shape
        if not fills:
            channel[:] = 0.0
        if sequence in present:
            to_single(tile.voxels[present.index(sequence)], out=channel[inside])
    return spread
