"""Owns what a scanner does to a head: another contrast, uneven coils, thick slices, motion, ringing, blur and noise."""

import numpy as np
import torch
from monai.transforms.intensity.array import RandGibbsNoise, RandHistogramShift
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.mets_metric import CONNECTIVITY_26
from brainmets.training.fields import Floats, chance, make_smooth_field, uniform
from brainmets.training.heads import T1N, Head

# Tissues whose contrast a histogram is bent at: more would fold neighbouring ones into each other.
CONTROL_POINTS = 8
# Share of k-space that ringing may cut off: above it small lesions vanish.
GIBBS_ALPHA = (0.1, 0.45)


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
    thick_mm = round(uniform(rng, 2.0, 6.0)) if chance(rng, 0.2) else 1  # one study of five
    for channel in head.channels:
        voxels = head.voxels[channel]
        bias = make_smooth_field(rng, head.shape, scale_mm=uniform(rng, 60.0, 140.0))
        voxels *= np.exp(bias_strength * bias)
        if thick_mm > 1:
            thicken(voxels, slices=thick_mm)
        blur_mm = uniform(rng, 0.0, 0.9)
        if blur_mm > 0.3:  # noqa: PLR2004 -- less changes nothing on a 1 mm grid
            ndimage.gaussian_filter(voxels, blur_mm, output=voxels, truncate=2.5)
        grain = rng.standard_normal(head.shape, dtype=np.float32) * np.float32(noise)
        # Magnitude images: noise never makes a voxel negative; and in what was stripped air stays air.
        head.voxels[channel] = np.where(voxels > 0.0, np.abs(voxels + grain), 0.0)
    if thick_mm > 1:
        thicken_target(head.target, slices=thick_mm)


def disturb(head: Head, rng: np.random.Generator) -> None:
    """Bend contrasts, move and ring in place, each sequence in its own way; air stays air.

    Apart from `degrade`: the network that finds the brain has not learned these, and its figures are measured without.
    """
    for channel in head.channels:
        voxels = head.voxels[channel]
        air = voxels <= 0.0
        if chance(rng, 0.35):
            _bend_histogram(voxels, rng)
        if chance(rng, 0.12):
            _move(voxels, rng)
        if chance(rng, 0.12):
            _ring(voxels, rng)
        voxels[air] = 0.0


def _bend_histogram(voxels: Floats, rng: np.random.Generator) -> None:
    """Bend intensities by a monotonous curve: another protocol or another scanner."""
    bend = RandHistogramShift(num_control_points=CONTROL_POINTS, prob=1.0)
    bend.set_random_state(seed=_draw_seed(rng))
    voxels[...] = np.asarray(bend(torch.from_numpy(voxels)[None]))[0]


def _ring(voxels: Floats, rng: np.random.Generator) -> None:
    """Let edges ring, as where k-space was acquired in part."""
    ring = RandGibbsNoise(prob=1.0, alpha=GIBBS_ALPHA)
    ring.set_random_state(seed=_draw_seed(rng))
    voxels[...] = np.abs(np.asarray(ring(torch.from_numpy(voxels)[None]))[0])


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _move(voxels: Floats, rng: np.random.Generator) -> None:
    """Add the faint copies that a moving head leaves along the phase encoding, in the plane."""
    axis = int(rng.integers(1, 3))
    shift = round(voxels.shape[axis] / int(rng.integers(2, 5)))
    ghost = np.roll(voxels, shift, axis=axis) + np.roll(voxels, -shift, axis=axis)
    voxels += np.float32(uniform(rng, 0.02, 0.12)) * ghost


def thicken_target(target: NDArray[np.bool_], *, slices: int) -> None:
    """Let each lesion be what thick slices show of it, in place: where it has half of its own contrast and more."""
    labels, _ = ndimage.label(target, structure=CONNECTIVITY_26)
    target[...] = False
    for label, (_, rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        shown = (labels[:, rows, columns] == label).astype(np.float32)
        thicken(shown, slices=slices)
        target[:, rows, columns] |= shown > 0.5 * shown.max()


def thicken(voxels: Floats, *, slices: int) -> None:
    """Average slices in groups and interpolate between the groups, as a grid of 1 mm shows a thick acquisition."""
    count = len(voxels) // slices
    if count < 2:  # noqa: PLR2004 -- nothing to interpolate between
        return
    thick = voxels[: count * slices].reshape(count, slices, *voxels.shape[1:]).mean(axis=1)
    position = np.clip((np.arange(len(voxels)) - (slices - 1) / 2.0) / slices, 0.0, count - 1.0)
    below = np.minimum(position.astype(int), count - 2)
    share = (position - below).astype(np.float32)[:, None, None]
    voxels[...] = thick[below] * (1.0 - share) + thick[below + 1] * share
