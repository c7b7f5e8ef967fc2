"""Owns mass effect: a growing lesion pushes the tissue around it away."""

import numpy as np
import torch
from torch.nn import functional

from brainmets.training.fields import Shape
from brainmets.training.heads import HALF, Head


def push_tissue(
    head: Head, place: tuple[slice, slice, slice], *, centre: Shape, radius_mm: float, strength: float
) -> None:
    """Move the tissue of a box away from a point, in place; the target of lesions drawn before moves with it.

    What lies at the distance r afterwards lay at r (1 - strength exp(-(r / radius)²)) before: most is moved at the
    lesion's edge, next to nothing at twice its radius.

    Args:
        head: Where.
        place: The box; it reaches well beyond the lesion.
        centre: The lesion's centre, voxel (slice, row, column).
        radius_mm: The lesion's radius.
        strength: In [0, 1); 0 moves nothing.
    """
    offsets = [
        np.arange(axis.start, axis.stop, dtype=np.float32) - np.float32(at)
        for axis, at in zip(place, centre, strict=True)
    ]
    d, h, w = np.meshgrid(*offsets, indexing="ij", sparse=True)
    kept = 1.0 - strength * np.exp(-(d**2 + h**2 + w**2) / np.float32(radius_mm) ** 2)
    planes = []
    for offset, axis, at in zip((w, h, d), reversed(place), reversed(centre), strict=True):
        middle = (axis.start + axis.stop - 1) / 2.0
        half = max((axis.stop - axis.start - 1) / 2.0, 0.5)
        planes.append(torch.from_numpy(((at + offset * kept - middle) / half).astype(np.float32)))
    grid = torch.stack(planes, dim=-1)[None]
    moved = [*head.voxels[list(head.channels)][:, *place], head.brain[place], head.target[place].astype(np.float32)]
    bent = functional.grid_sample(
        torch.from_numpy(np.stack(moved))[None], grid, padding_mode="border", align_corners=True
    )[0].numpy()
    for channel, voxels in zip(head.channels, bent, strict=False):
        head.voxels[channel][place] = voxels
    head.brain[place] = bent[-2]
    head.target[place] = bent[-1] > HALF
