"""Owns what a scanner does to a head: another contrast, uneven coils, thick slices, blur and noise."""

import numpy as np
from scipy import ndimage

from brainmets.training.fields import chance, make_smooth_field, uniform
from brainmets.training.heads import T1N, Head


def vary_contrast(head: Head, rng: np.random.Generator) -> None:
    """Change how the tissues of each sequence stand out from each other, in place; the brain's median stays 1."""
    gamma = uniform(rng, 0.65, 1.5)
    for channel in head.channels:
        # T1 before and after contrast medium come from one protocol.
        gamma = gamma if channel == T1N else uniform(rng, 0.65, 1.5)
        np.power(np.maximum(head.voxels[channel], 0.0), np.float32(gamma), out=head.voxels[channel])


def degrade(head: Head, rng: np.random.Generator) -> None:
    """Blur, shade and disturb each sequence in place, each in its own way."""
    bias_strength = uniform(rng, 0.0, 0.3)
    noise = uniform(rng, 0.0, 0.09)
    thick_mm = uniform(rng, 2.0, 6.0) if chance(rng, 0.2) else 1.0  # one study of five
    for channel in head.channels:
        voxels = head.voxels[channel]
        bias = make_smooth_field(rng, head.shape, scale_mm=uniform(rng, 60.0, 140.0))
        voxels *= np.exp(bias_strength * bias)
        if thick_mm > 1.0:
            ndimage.uniform_filter1d(voxels, size=round(thick_mm), axis=0, output=voxels)
        blur_mm = uniform(rng, 0.0, 0.9)
        if blur_mm > 0.3:  # noqa: PLR2004 -- less changes nothing on a 1 mm grid
            ndimage.gaussian_filter(voxels, blur_mm, output=voxels, truncate=2.5)
        grain = rng.standard_normal(head.shape, dtype=np.float32) * np.float32(noise)
        # Magnitude images: noise never makes a voxel negative, and air stays air.
        head.voxels[channel] = np.where(voxels > 0.0, np.abs(voxels + grain), 0.0)
