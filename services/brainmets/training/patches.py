"""Owns training patches: axial pieces with their context, cut from a rolling pool of fresh studies."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from brainmets.training.context import Context
from brainmets.training.fields import chance
from brainmets.training.heads import CHANNELS, T1C
from brainmets.training.studies import TrainingStudy

# Rows and columns of a patch: half a head and its surroundings, a multiple of every network's stride.
PATCH_SIZE = 160
# Share of patches that are cut around a lesion; the others show what a head looks like without.
LESION_FRACTION = 0.6
# Studies that patches are cut from at a time, and batches until the oldest of them is replaced by a new one.
POOL_STUDIES = 20
BATCHES_A_STUDY = 6
# How often a patch does without a sequence that its study has.
DROPPED = 0.15


StudySource = Callable[[np.random.Generator], TrainingStudy]
"""Where a training's studies come from: made on the spot, or taken from a shelf."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one update learns from.

    Attributes:
        slices: (B, C, H, W) as the context arranges them, or a volume's (B, C, D, H, W).
        target: (B, 1, H, W) or (B, 1, D, H, W), 1 where what is decided is lesion.
        weight: Of the target's shape, what each voxel's error costs.
    """

    slices: Tensor
    target: Tensor
    weight: Tensor


Patch = tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.float16]]
"""Slices (C, H, W) or (C, D, H, W), target (1, H, W) or (1, D, H, W), and weight of the target's shape."""


class PatchStream(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless stream of batches, the same for the same seed if the source of studies is."""

    def __init__(
        self, draw_study: StudySource, *, seed: int, batch_size: int, context: Context, dropped: float = DROPPED
    ) -> None:
        self._draw_study = draw_study
        self._seed = seed
        self._batch_size = batch_size
        self._context = context
        self._dropped = dropped

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rng = np.random.default_rng(self._seed)
        pool: deque[TrainingStudy] = deque(maxlen=POOL_STUDIES)
        while True:
            pool.append(self._draw_study(rng))
            # A pool that is still filling is used less, so that its first studies are not learned by heart.
            for _ in range(max(2, BATCHES_A_STUDY * len(pool) // POOL_STUDIES)):
                patches = [self._cut(pool[rng.integers(len(pool))], rng) for _ in range(self._batch_size)]
                slices, targets, weights = (torch.from_numpy(np.stack(parts)) for parts in zip(*patches, strict=True))
                yield slices, targets, weights

    def _cut(self, study: TrainingStudy, rng: np.random.Generator) -> Patch:
        return cut_patch(study, rng, context=self._context, dropped=self._dropped)


def stream_batches(stream: PatchStream, *, workers: int) -> Iterator[Batch]:
    """Yield batches that worker processes make ahead of time; with one worker the order is the seed's own."""
    loader: DataLoader[tuple[Tensor, Tensor, Tensor]] = DataLoader(
        stream, batch_size=None, num_workers=workers, prefetch_factor=16 if workers else None
    )
    for slices, target, weight in loader:
        yield Batch(slices.float(), target.float(), weight.float())


def cut_patch(study: TrainingStudy, rng: np.random.Generator, *, context: Context, dropped: float = DROPPED) -> Patch:
    """Return a patch, augmented; `dropped` is how often it does without a sequence that its study has."""
    d, h, w = _choose_voxel(study, rng)
    place = [_around(at, size, rng) for at, size in ((h, study.target.shape[1]), (w, study.target.shape[2]))]
    slices = np.zeros((CHANNELS, len(context.offsets), PATCH_SIZE, PATCH_SIZE), dtype=np.float32)
    target = np.zeros((len(context.decided), PATCH_SIZE, PATCH_SIZE), dtype=np.bool_)
    weight = np.ones(target.shape, dtype=np.float16)
    (rows, rows_to), (columns, columns_to) = place
    depth = study.target.shape[0]
    for seen, offset in enumerate(context.offsets):
        if 0 <= d + offset < depth:
            slices[:, seen, rows_to, columns_to] = study.voxels[:, d + offset, rows, columns]
    for decided, offset in enumerate(context.decided):
        if 0 <= d + offset < depth:
            target[decided, rows_to, columns_to] = study.target[d + offset, rows, columns]
            weight[decided, rows_to, columns_to] = study.weight[d + offset, rows, columns]
    _augment(slices, study.present, rng, dropped=dropped)
    arranged = context.arrange(slices).astype(np.float16)
    if context.volumetric:
        target, weight = target[None], weight[None]
    if chance(rng, 0.5):  # left and right are equally likely
        return arranged[..., ::-1].copy(), target[..., ::-1].copy(), weight[..., ::-1].copy()
    return arranged, target, weight


def _choose_voxel(study: TrainingStudy, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return the voxel that a patch must show: of a lesion, each equally likely, or of any slice."""
    if study.lesion_voxels and chance(rng, LESION_FRACTION):
        voxels = study.lesion_voxels[rng.integers(len(study.lesion_voxels))]
        d, h, w = voxels[rng.integers(len(voxels))].tolist()
    else:
        d, h, w = (int(rng.integers(size)) for size in study.target.shape)
    return d, h, w


def _around(at: int, size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return where a patch that shows a voxel lies on one axis, and which part of the patch that fills."""
    if size <= PATCH_SIZE:
        start = int(rng.integers(size - PATCH_SIZE, 1))
    else:
        start = int(np.clip(at - rng.integers(16, PATCH_SIZE - 16), 0, size - PATCH_SIZE))
    low, high = max(start, 0), min(start + PATCH_SIZE, size)
    return slice(low, high), slice(low - start, high - start)


def _augment(
    slices: NDArray[np.float32], present: tuple[bool, ...], rng: np.random.Generator, *, dropped: float
) -> None:
    """Drop sequences, and shift and stretch the intensities of the others, in place."""
    for channel, there in enumerate(present):
        if not there or (channel != T1C and chance(rng, dropped)):
            slices[channel] = 0.0
            continue
        inside = slices[channel] != 0.0
        slices[channel] *= rng.uniform(0.85, 1.2)
        slices[channel] += inside * np.float32(rng.uniform(-0.2, 0.2))
