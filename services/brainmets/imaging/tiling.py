"""Owns tiles: how a normalised volume is cut into equal pieces that a network decides one at a time.

A tile decides a slab of axial slices of the foreground's box and sees `halo` more on either side. A slice is
decided once, unless the last slab is shifted back over it to stay inside the box; in the plane a tile covers
the whole box unless that is larger than the contract allows.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box
from brainmets.imaging.half_precision import to_single
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract

Index = tuple[int, int, int]
"""A voxel index or a shape on the axes (slice, row, column)."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where a volume's tiles lie.

    Attributes:
        volume_shape: (D, H, W) of the volume that is cut.
        tile_shape: (D, H, W) that every tile decides, without its halo.
        halo: Slices of context on either side.
        origins: First decided voxel of each tile, never negative; a tile may pass the volume's far end.
    """

    volume_shape: Index
    tile_shape: Index
    halo: int
    origins: tuple[Index, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One piece of a volume, with its context.

    Attributes:
        index: Its place in `TileGrid.origins`.
        origin: First voxel that it decides.
        voxels: (C, D + 2 halo, H, W), normalised intensities, zero beyond the volume.
    """

    index: int
    origin: Index
    voxels: NDArray[np.floating]


def plan_tiles(shape: Index, contract: TileContract, *, occupied: NDArray[np.bool_] | None = None) -> TileGrid:
    """Return the tiles that cover the box of the occupied voxels, without those that hold none of them.

    The number of slabs is even when there are several, because two instances of a network share them.

    Args:
        shape: (D, H, W) of the volume.
        contract: How the network wants its tiles.
        occupied: (D, H, W), the voxels that must be decided; all of them when left out.
    """
    box = Box((0, 0, 0), shape) if occupied is None else find_bounding_box(occupied)
    if box is None:
        return TileGrid(shape, (1, contract.stride, contract.stride), contract.halo, ())
    depth, slabs = _plan_slabs(box.start[0], box.stop[0], contract=contract)
    height, rows = _plan_plane(box.start[1], box.stop[1], limit=shape[1], contract=contract)
    width, columns = _plan_plane(box.start[2], box.stop[2], limit=shape[2], contract=contract)
    origins: tuple[Index, ...] = tuple(itertools.product(slabs, rows, columns))
    if occupied is not None:
        origins = tuple(
            (d, h, w) for d, h, w in origins if occupied[d : d + depth, h : h + height, w : w + width].any()
        )
    return TileGrid(shape, (depth, height, width), contract.halo, origins)


def _plan_slabs(start: int, stop: int, *, contract: TileContract) -> tuple[int, list[int]]:
    """Return the slabs' depth and first slices."""
    slices = stop - start
    count = 1 if slices <= contract.depth else 2 * math.ceil(slices / contract.depth / 2)
    depth = math.ceil(slices / count)
    # Where slabs outnumber their own slices, rounding up leaves the last ones nothing: they fall together.
    starts = [min(start + slab * depth, stop - depth) for slab in range(count)]
    return depth, sorted(set(starts))


def _plan_plane(start: int, stop: int, *, limit: int, contract: TileContract) -> tuple[int, list[int]]:
    """Return the tiles' size and first voxels on one in-plane axis of a volume with `limit` voxels."""
    length = _round_up(stop - start, contract.stride)
    if length <= contract.max_size:
        return length, [max(0, min(start, limit - length))]
    fresh = 1.0 - contract.overlap
    count = 1 + math.ceil((length - contract.max_size) / (contract.max_size * fresh))
    # A rounding error must not lift a size that fits exactly above the largest.
    size = min(_round_up(length / (1.0 + (count - 1) * fresh), contract.stride), contract.max_size)
    start = max(0, min(start, limit - length))
    return size, [start + round(step * (length - size) / (count - 1)) for step in range(count)]


def _round_up(length: float, stride: int) -> int:
    return stride * math.ceil(length / stride)


def extract_tile(normalized: NormalizedVolume, grid: TileGrid, *, index: int) -> Tile:
    """Return one tile of a normalised volume, with zeros where it reaches beyond it."""
    return _place_tile(crop_tile(normalized, grid, index=index), grid, index=index)


def crop_tile(normalized: NormalizedVolume, grid: TileGrid, *, index: int) -> NDArray[np.float32]:
    """Return a tile's part inside the volume, a view: what is worth sending (see `restore_tile`)."""
    return normalized.voxels[:, *_source(grid, index)]


def cropped_shape(grid: TileGrid, *, index: int) -> Index:
    """Return the shape (D, H, W) of a tile's part inside the volume."""
    d, h, w = (axis.stop - axis.start for axis in _source(grid, index))
    return d, h, w


def restore_tile(voxels: NDArray[np.floating], grid: TileGrid, *, index: int) -> Tile:
    """Return the tile whose part inside the volume is given.

    Raises:
        InternalError: The part has another shape than the grid says.
    """
    expected = cropped_shape(grid, index=index)
    if voxels.shape[1:] != expected:
        raise InternalError(
            "A tile does not fit its grid",
            expected=f"{expected} voxels",
            got=str(voxels.shape[1:]),
            remedy="run the same version of gateway and preprocessing",
        )
    return _place_tile(voxels, grid, index=index)


def spread_channels(
    voxels: NDArray[np.floating], *, present: tuple[Sequence, ...], wanted: tuple[Sequence, ...]
) -> NDArray[np.float32]:
    """Return a tile's channels (C, …) in a network's order, zeros for those the study lacks.

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
    spread = np.empty((len(wanted), *voxels.shape[1:]), dtype=np.float32)
    for channel, sequence in zip(spread, wanted, strict=True):
        if sequence in present:
            to_single(voxels[present.index(sequence)], out=channel)
        else:
            channel[:] = 0.0
    return spread


def _place_tile(voxels: NDArray[np.floating], grid: TileGrid, *, index: int) -> Tile:
    depth, height, width = grid.tile_shape
    placed = np.zeros((len(voxels), depth + 2 * grid.halo, height, width), dtype=voxels.dtype)
    placed[:, *_target(grid, index)] = voxels
    return Tile(index, grid.origins[index], placed)


def _source(grid: TileGrid, index: int) -> tuple[slice, slice, slice]:
    """Return where a tile with its halo lies in the volume, cut off at the volume's ends."""
    d, h, w = grid.origins[index]
    depth, height, width = grid.tile_shape
    slices, rows, columns = grid.volume_shape
    return (
        slice(max(0, d - grid.halo), min(slices, d + depth + grid.halo)),
        slice(h, min(rows, h + height)),
        slice(w, min(columns, w + width)),
    )


def _target(grid: TileGrid, index: int) -> tuple[slice, slice, slice]:
    """Return where that part lies in the tile."""
    d, h, w = grid.origins[index]
    slices, rows, columns = _source(grid, index)
    first = d - grid.halo
    return (
        slice(slices.start - first, slices.stop - first),
        slice(rows.start - h, rows.stop - h),
        slice(columns.start - w, columns.stop - w),
    )
