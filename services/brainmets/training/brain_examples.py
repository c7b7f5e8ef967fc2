"""Owns the examples of the brain network: heads turned, bent, recoloured and scanned as no scanner has shown them yet.

The contrast is drawn, and not imitated: tissues keep their places and lose their usual intensities, so that what is
learned is where a brain lies in a head, and not how one scanner shows it.
"""

from collections.abc import Sequence as Sequences
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn import functional

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.brain_network import scale_coarse
from brainmets.imaging.foreground import block_means, find_foreground
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.volume import Volume
from brainmets.training.brain_heads import SOURCE_MM, BrainHead, Kind, draw_phantom
from brainmets.training.fields import Floats, Shape, chance, log_uniform, make_smooth_field, uniform
from brainmets.training.heads import HALF
from brainmets.training.studies import AXIAL_AFFINE

# How often each kind of head is drawn.
SHARES = {Kind.REAL: 0.5, Kind.SKULL: 0.3, Kind.STRIPPED: 0.14, Kind.PHANTOM: 0.06}
# Air around a head before it is turned, voxels.
MARGIN = 6
# Heads lie turned by about this (one deviation), and never by more than the most.
TURN_DEG, MOST_TURN_DEG = 11.0, 28.0
# A field of view holds at least so many voxels on each axis.
LEAST_VOXELS = 24
# Levels of T1 (the brain's median is 1) at which the drawn curves of contrast bend.
LEVELS = np.array([0.0, 0.15, 0.35, 0.7, 1.0, 1.3, 2.0, 3.5, 8.0])
CSF = 2


@dataclass(frozen=True, slots=True, eq=False)
class BrainExample:
    """What the network sees of a head (d, h, w), and the share of each voxel that is brain (d, h, w)."""

    voxels: Floats
    brain: Floats


def draw_example(heads: Sequences[BrainHead], rng: np.random.Generator) -> BrainExample:
    """Return one of the heads, changed, on the network's voxels."""
    head = _choose(heads, rng)
    voxels, brain = _deform(head, rng)
    voxels = _recolour(voxels, brain, rng)
    _paint_spots(voxels, brain, rng)
    # At 7 T and near a surface coil one side is several times as bright as the other.
    bias = make_smooth_field(rng, _shape(voxels), scale_mm=uniform(rng, 25.0, 70.0))
    voxels *= np.exp(uniform(rng, 0.0, 0.5) * bias)
    voxels, brain = _scan(voxels, brain, stripped=head.is_stripped, rng=rng)
    return BrainExample(scale_coarse(block_means(voxels, [2, 2, 2])), block_means(brain, [2, 2, 2]))


def _choose(heads: Sequences[BrainHead], rng: np.random.Generator) -> BrainHead:
    kinds = [kind for kind in SHARES if kind is Kind.PHANTOM or any(head.kind is kind for head in heads)]
    shares = np.array([SHARES[kind] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    if kind is Kind.PHANTOM:
        return draw_phantom(rng)
    chosen = [head for head in heads if head.kind is kind]
    return chosen[rng.integers(len(chosen))]


def _deform(head: BrainHead, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a head and its brain turned, stretched and bent."""
    source = np.stack([head.voxels, head.brain])
    if not head.is_stripped and chance(rng, 0.4):
        source = _add_neck(source, slices=int(uniform(rng, 4.0, 45.0)), rng=rng)
    if chance(rng, 0.5):  # left and right are equally likely
        source = source[..., ::-1]
    d, h, w = (size + 2 * MARGIN for size in source.shape[1:])
    bent = functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(source))[None],
        _sample_grid((d, h, w), source.shape[1:], rng)[None],
        mode="bilinear",
        align_corners=True,
    )[0].numpy()
    return bent[0], bent[1]


def _add_neck(source: Floats, *, slices: int, rng: np.random.Generator) -> Floats:
    """Return a head and its brain (2, D, H, W) that goes on below in muscles, fat and air of all sizes."""
    longer = np.pad(source, ((0, 0), (slices, 0), (0, 0), (0, 0)), mode="edge")
    longer[1, :slices] = 0.0
    neck = longer[0, :slices]
    patches = make_smooth_field(rng, _shape(neck), scale_mm=uniform(rng, 5.0, 20.0))
    # What is left of a slice's own structure, and how much of it is replaced by patches of tissue.
    mixed = uniform(rng, 0.0, 0.8)
    tissue = (1.0 - mixed) * neck + mixed * float(neck.mean()) * 1.5
    neck[:] = tissue * np.clip(1.0 + uniform(rng, 0.2, 0.9) * patches, 0.0, 3.0) * (neck > 0.0)
    return longer


def _sample_grid(shape: Shape, source_shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """Return where each voxel of the new head comes from: (D, H, W, 3), x first, -1 to 1 over the source."""
    turns_deg = rng.normal(scale=TURN_DEG, size=3).clip(-MOST_TURN_DEG, MOST_TURN_DEG)
    matrix = Rotation.from_euler("xyz", turns_deg, degrees=True).as_matrix()
    matrix = matrix @ np.diag(np.exp(rng.uniform(-0.18, 0.18, size=3))) * uniform(rng, 0.9, 1.12)
    matrix = (matrix @ (np.eye(3) + np.triu(rng.uniform(-0.06, 0.06, size=(3, 3)), k=1))).astype(np.float32)
    middle, source_middle = ((np.array(each, dtype=np.float32) - 1) / 2 for each in (shape, source_shape))
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    offsets = [axis.astype(np.float32) - at for axis, at in zip(grid, middle, strict=True)]
    strength = np.float32(uniform(rng, 0.0, 1.6))
    planes = []
    for axis in (2, 1, 0):
        bend = make_smooth_field(rng, shape, scale_mm=uniform(rng, 12.0, 30.0))
        place = sum(factor * offset for factor, offset in zip(matrix[axis], offsets, strict=True)) + strength * bend
        planes.append(torch.from_numpy((place / source_middle[axis]).astype(np.float32)))
    return torch.stack(planes, dim=-1)


def _recolour(voxels: Floats, brain: Floats, rng: np.random.Generator) -> Floats:
    """Return the head in another contrast: the brain follows one curve, what surrounds it another."""
    inside = np.power(np.maximum(voxels, 0.0), np.float32(uniform(rng, 0.6, 1.6)))
    outside = inside
    if chance(rng, 0.5):
        # CSF stays dark or becomes bright; grey and white matter change places now and then.
        drawn = LEVELS * np.exp(rng.normal(scale=0.25, size=len(LEVELS)))
        drawn[CSF] *= log_uniform(rng, 0.6, 2.5)
        inside = np.interp(inside, LEVELS, drawn)
    if chance(rng, 0.7):
        outside = np.interp(outside, LEVELS, LEVELS * np.exp(rng.normal(scale=0.5, size=len(LEVELS))))
    recoloured = inside * brain + log_uniform(rng, 0.35, 2.2) * outside * (1.0 - brain)
    return recoloured.astype(np.float32)


def _paint_spots(voxels: Floats, brain: Floats, rng: np.random.Generator) -> None:
    """Draw lesions, in place: balls with a core, centred anywhere in the brain and often at its surface."""
    inside = np.argwhere(brain > HALF)
    for _ in range(int(rng.integers(0, 5)) if len(inside) else 0):
        centre = inside[rng.integers(len(inside))]
        radius = log_uniform(rng, 2.0, 14.0)
        place = tuple(
            slice(max(0, int(at - radius)), min(size, int(at + radius) + 2))
            for at, size in zip(centre.tolist(), voxels.shape, strict=True)
        )
        distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(np.ogrid[place], centre, strict=True)))
        core = np.clip(uniform(rng, 0.0, 0.9) * radius - distance + HALF, 0.0, 1.0)
        level = uniform(rng, 0.8, 3.5) * (1.0 - core) + uniform(rng, 0.1, 3.0) * core
        ball = np.clip(radius - distance + HALF, 0.0, 1.0)
        if chance(rng, 0.5):  # the others grow on into dura and bone, which does not make brain of these
            ball *= brain[place]
        voxels[place] += ball * (level - voxels[place])


def _scan(voxels: Floats, brain: Floats, *, stripped: bool, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a head in its field of view, with thick slices, blur and noise, its air masked or not."""
    if stripped:
        voxels = voxels * (brain > HALF)
    affine = AXIAL_AFFINE @ np.diag([SOURCE_MM, SOURCE_MM, SOURCE_MM, 1.0])
    head = find_foreground(Volume(voxels.astype(np.float32), Geometry(_shape(voxels), affine)))
    box = find_bounding_box(head)
    assert box is not None  # noqa: S101 -- a foreground is never empty
    if not stripped and chance(rng, 0.4):
        box = _narrow(box, rng)
    voxels, brain, head = voxels[box.slices].copy(), brain[box.slices], head[box.slices]
    if chance(rng, 0.35):
        ndimage.uniform_filter1d(voxels, size=int(rng.integers(2, 5)), axis=int(rng.integers(3)), output=voxels)
    if chance(rng, 0.3):
        ndimage.gaussian_filter(voxels, uniform(rng, 0.3, 1.2), output=voxels)
    # Magnitude images: noise is never negative, and in air it is all there is.
    noise = uniform(rng, 0.0, 0.15) * float(voxels.mean())
    grain = rng.standard_normal((2, *voxels.shape), dtype=np.float32) * np.float32(noise)
    voxels = np.hypot(voxels + grain[0], grain[1])
    return voxels * head if stripped or chance(rng, 0.4) else voxels, brain


def _narrow(box: Box, rng: np.random.Generator) -> Box:
    """Return a field of view that leaves out some of the head."""
    start, stop = list(box.start), list(box.stop)
    for axis in range(3):
        room = max(0, box.shape[axis] - LEAST_VOXELS)
        if chance(rng, 0.5):
            cut = rng.dirichlet([1.0, 1.0, 2.0])[:2] * room
            start[axis] += int(cut[0])
            stop[axis] -= int(cut[1])
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _shape(voxels: Floats) -> Shape:
    d, h, w = voxels.shape
    return d, h, w
