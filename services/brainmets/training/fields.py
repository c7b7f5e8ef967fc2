"""Owns randomness: smooth fields that make tissue, lesions and coils uneven, and the draws of single numbers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Shape = tuple[int, int, int]
Floats = NDArray[np.float32]


def make_smooth_field(rng: np.random.Generator, shape: Shape, *, scale_mm: float) -> Floats:
    """Return a field (D, H, W) of mean 0 and a deviation of about 1 that varies over `scale_mm` (voxels are 1 mm)."""
    coarse = [max(2, round(size / scale_mm) + 1) for size in shape]
    # Interpolation averages: it takes about a third of the deviation away.
    field: Floats = enlarge(rng.standard_normal(coarse, dtype=np.float32)[None], shape)[0] * np.float32(1.4)
    return field


def enlarge(coarse: Floats, shape: Shape) -> Floats:
    """Return fields (C, d, h, w) interpolated linearly to (C, D, H, W), corner on corner."""
    large = functional.interpolate(torch.from_numpy(coarse)[None], size=shape, mode="trilinear", align_corners=True)
    voxels: Floats = large[0].numpy()
    return voxels


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number drawn evenly between two bounds."""
    return float(rng.uniform(low, high))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return whether something of this probability happens."""
    return bool(rng.random() < probability)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number drawn so that its logarithm is even between two positive bounds."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
