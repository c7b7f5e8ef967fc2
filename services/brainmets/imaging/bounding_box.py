"""Owns the smallest box that holds a mask."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.geometry import Box


def find_bounding_box(voxels: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that holds all true voxels (D, H, W), or None when there are none."""
    in_plane = np.any(voxels, axis=0)  # (H, W)
    lines = (np.any(voxels, axis=(1, 2)), np.any(in_plane, axis=1), np.any(in_plane, axis=0))
    ends = [np.flatnonzero(line) for line in lines]
    if not ends[0].size:
        return None
    d, h, w = ((int(end[0]), int(end[-1]) + 1) for end in ends)
    return Box((d[0], h[0], w[0]), (d[1], h[1], w[1]))
