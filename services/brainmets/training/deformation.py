"""Owns the random anatomy: a background turned, stretched and bent into another head."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional

from brainmets.training.backgrounds import Background
from brainmets.training.fields import Floats, Shape, chance, enlarge, uniform
from brainmets.training.heads import HALF, Head

# Bounds of the affine part: heads lie tilted, and differ in size by about this much.
TURN_DEG = 20.0
STRETCH = 0.18
SHEAR = 0.08
# Bends over about this distance, by up to about this much (one deviation): anatomy differs, tissue does not tear.
BEND_SCALES_MM = (45.0, 20.0)
BEND_MM = (5.5, 1.8)
# Room for them on each side of a head.
BEND_ROOM_MM = 10


def deform_background(
    background: Background, rng: np.random.Generator, *, margin_mm: int, present: tuple[bool, ...]
) -> Head:
    """Return a new head made of a background, with air of the given width around it.

    Args:
        background: What it is made of.
        rng: Draws it.
        margin_mm: Width of the air.
        present: The sequences that it shall have; the others stay empty.
    """
    parts = (background.voxels[list(present)], background.brain[None], background.own_target[None])
    source = np.concatenate(parts, dtype=np.float32)
    matrix = _draw_affine(rng)
    shape = _deformed_shape(background.brain.shape, matrix, margin_mm)
    grid = _sample_grid(shape, background.brain.shape, matrix, rng)
    if chance(rng, 0.5):  # left and right are equally likely
        source = source[..., ::-1]
    bent = functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(source))[None], grid[None], mode="bilinear", align_corners=True
    )[0].numpy()
    voxels = np.zeros((len(present), *shape), dtype=np.float32)
    voxels[list(present)] = bent[:-2]
    head = Head(voxels=voxels, brain=bent[-2], present=present)
    head.target[...] = bent[-1] > HALF
    return head


def _deformed_shape(shape: tuple[int, ...], matrix: Floats, margin_mm: int) -> Shape:
    """Return the box of a head that filled its own as an ellipsoid does, with room for bends and a margin of air."""
    reach = np.sqrt(np.square(np.linalg.inv(matrix) * shape).sum(axis=1))
    d, h, w = (int(np.ceil(size)) + 2 * (margin_mm + BEND_ROOM_MM) for size in reach)
    return d, h, w


def _sample_grid(shape: Shape, source_shape: tuple[int, ...], matrix: Floats, rng: np.random.Generator) -> torch.Tensor:
    """Return where each voxel of the new head comes from: (D, H, W, 3), x first, -1 to 1 over the background."""
    middle, source_middle = ((np.array(each) - 1.0) / 2.0 for each in (shape, source_shape))
    offsets = [np.arange(size, dtype=np.float32) - np.float32(at) for size, at in zip(shape, middle, strict=True)]
    bend_mm = _draw_bend(shape, rng)
    planes = []
    for axis in (2, 1, 0):
        row = matrix[axis].astype(np.float32)
        position = (
            row[0] * offsets[0][:, None, None] + row[1] * offsets[1][None, :, None] + row[2] * offsets[2][None, None, :]
        )
        position += bend_mm[axis]
        planes.append(torch.from_numpy(position / np.float32(source_middle[axis])))
    return torch.stack(planes, dim=-1)


def _draw_affine(rng: np.random.Generator) -> Floats:
    turn = Rotation.from_euler("xyz", rng.normal(scale=TURN_DEG / 2.0, size=3), degrees=True).as_matrix()
    stretch = np.diag(np.exp(rng.uniform(-STRETCH, STRETCH, size=3)))
    shear = np.eye(3) + np.triu(rng.uniform(-SHEAR, SHEAR, size=(3, 3)), k=1)
    matrix: Floats = turn @ stretch @ shear
    return matrix


def _draw_bend(shape: Shape, rng: np.random.Generator) -> Floats:
    """Return the displacement (3, D, H, W) in voxels of 1 mm."""
    # The finer bend's own scale is far above this grid's, and interpolating once is three times cheaper.
    quarter: Shape = tuple(-(-size // 4) for size in shape)  # type: ignore[assignment] # three axes
    bend = np.zeros((3, *quarter), dtype=np.float32)
    for scale_mm, size_mm in zip(BEND_SCALES_MM, BEND_MM, strict=True):
        coarse = [max(3, round(size / scale_mm) + 1) for size in shape]
        strength = size_mm * uniform(rng, 0.2, 1.3)
        bend += enlarge(strength * rng.standard_normal((3, *coarse), dtype=np.float32), quarter)
    return enlarge(bend, shape)
