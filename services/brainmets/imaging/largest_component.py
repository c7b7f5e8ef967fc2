"""Owns the largest connected part of a mask, found by the runs of voxels in its rows."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def keep_largest(framed: NDArray[np.bool_]) -> None:
    """Remove all but the largest face-connected component of a mask (D, H, W) in a frame of nothing, one voxel wide.

    Runs of voxels in a row are joined where they touch. A head has a hundredth as many runs as voxels, and they take a
    fifth of the time that `ndimage.label` takes for the voxels; specks of noise among zeros take two or three times it.
    """
    flat = framed.reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, stops = ends[::2].copy(), ends[1::2].copy()
    _, rows, columns = framed.shape
    # Run i touches run j in the next row, or in the next slice.
    i, j = np.concatenate([_overlaps(starts, stops, shift=shift) for shift in (columns, rows * columns)], axis=1)
    touching = coo_array((np.ones(len(i), dtype=np.bool_), (i, j)), shape=(len(starts), len(starts)))
    count, components = connected_components(touching, directed=False)
    if count > 1:
        lengths = stops - starts
        others = components != np.bincount(components, lengths).argmax()
        flat[_ranges(starts[others], lengths[others])] = False


def _overlaps(
    starts: NDArray[np.intp], stops: NDArray[np.intp], *, shift: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which runs i, moved by a shift, overlap which runs j."""
    first = np.searchsorted(stops, starts + shift, side="right")
    counts = np.searchsorted(starts, stops + shift) - first
    return np.repeat(np.arange(len(starts)), counts), _ranges(first, counts)


def _ranges(starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the whole numbers of ranges, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
