"""Owns a patch's view: how the slices of a study are turned, stretched and sheared in their plane when it is cut."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from brainmets.training.fields import Floats, chance, uniform

# How often a patch is cut as the study lies: interpolation blurs a little, and what is served is not turned.
UPRIGHT = 0.25
# Bounds of what a view does beyond the study's own deformation. New lesions and heads are drawn ten times more slowly
# than networks learn from them; views of them cost nothing.
TURN_DEG = 30.0
STRETCH = 0.25
SHEAR = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class PatchView:
    """Where in a study's slices a patch looks.

    Attributes:
        matrix: (2, 2), the study's step (row, column) for a step of the patch.
        voxel: Row and column of the study that is certain to be shown.
        shown_at: Row and column of the patch at which it is.
        size: Rows and columns of the patch.
    """

    matrix: NDArray[np.float64]
    voxel: tuple[int, int]
    shown_at: tuple[int, int]
    size: int

    def sample(self, planes: Floats) -> Floats:
        """Return planes (N, H, W) as the view shows them, (N, size, size), interpolated; 0 beyond their end."""
        steps = [np.arange(self.size) - at for at in self.shown_at]
        rows, columns = (
            at + row[0] * steps[0][:, None] + row[1] * steps[1] for at, row in zip(self.voxel, self.matrix, strict=True)
        )
        # Corner on corner: -1 is the first voxel, 1 the last.
        axes = [
            2.0 * positions / max(length - 1, 1) - 1.0
            for positions, length in zip((columns, rows), reversed(planes.shape[1:]), strict=True)
        ]
        grid = torch.from_numpy(np.stack(axes, axis=-1).astype(np.float32))
        sampled: Floats = functional.grid_sample(torch.from_numpy(planes)[None], grid[None], align_corners=True)[
            0
        ].numpy()
        return sampled


def draw_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a view's matrix: a turn after a stretch of either axis and a shear, or often none of them."""
    if chance(rng, UPRIGHT):
        return np.eye(2)
    angle = np.radians(uniform(rng, -TURN_DEG, TURN_DEG))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    together, apart = uniform(rng, -STRETCH, STRETCH), uniform(rng, -STRETCH, STRETCH) / 3.0
    stretch = np.diag(np.exp([together + apart, together - apart]))
    shear = np.array([[1.0, uniform(rng, -SHEAR, SHEAR)], [0.0, 1.0]])
    matrix: NDArray[np.float64] = turn @ stretch @ shear
    return matrix
