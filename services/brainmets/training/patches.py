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
from brainmets.training.fields import Floats, chance, uniform
from brainmets.training.heads import CHANNELS, HALF, T1C
from brainmets.training.patch_view import PatchView, draw_matrix
from brainmets.training.studies import TrainingStudy

# Rows and columns of a patch: half a head and its surroundings, a multiple of every network's stride.
PATCH_SIZE = 160
# Share of patches that are cut around a lesion; the others show what a head looks like without.
LESION_FRACTION = 0.6
# A lesion is chosen by this power of its volume, which is the square root of its diameter: a large one has many more
# slices to learn, and a small one must not be lost beside it.
VOLUME_POWER = 1.0 / 6.0
# Voxels that are tried until one is of the head, which fills about half of its box.
HEAD_TRIES = 8
# Studies that patches are cut from at a time, and batches until the oldest of them is replaced by a new one.
POOL_STUDIES = 20
BATCHES_A_STUDY = 6
# How often a patch does without a sequence that its study has.
DROPPED = 0.05
# How often noise of its own is added to a patch's sequence.
NOISY = 0.15


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
    rows, columns = study.target.shape[1:]
    view = PatchView(draw_matrix(rng), (h, w), (_place(h, rows, rng), _place(w, columns, rng)), PATCH_SIZE)
    seen, decided = len(context.offsets), len(context.decided)
    planes = (
        _take(study.voxels, d, context.offsets).reshape(CHANNELS * seen, *study.target.shape[1:]),
        _take(study.target, d, context.decided),
        _take(study.weight, d, context.decided, beyond=1.0) - 1.0,
    )
    shown = view.sample(np.concatenate(planes))
    slices = shown[: CHANNELS * seen].reshape(CHANNELS, seen, PATCH_SIZE, PATCH_SIZE)
    target = shown[-2 * decided : -decided] > HALF
    weight = shown[-decided:] + 1.0
    # Interpolation must not carry a lesion's weight beyond its edge.
    weight = np.where(target, weight, np.minimum(weight, 1.0)).astype(np.float16)
    _augment(slices, study.present, rng, dropped=dropped)
    arranged = context.arrange(slices).astype(np.float16)
    if context.volumetric:
        target, weight = target[None], weight[None]
    if chance(rng, 0.5):  # left and right are equally likely
        return arranged[..., ::-1].copy(), target[..., ::-1].copy(), weight[..., ::-1].copy()
    return arranged, target, weight


def _take(volumes: NDArray[np.generic], d: int, offsets: tuple[int, ...], *, beyond: float = 0.0) -> Floats:
    """Return the slices (..., S, H, W) around one of volumes (..., D, H, W); those beyond the end have one value."""
    taken = np.full((*volumes.shape[:-3], len(offsets), *volumes.shape[-2:]), beyond, dtype=np.float32)
    for place, offset in enumerate(offsets):
        if 0 <= d + offset < volumes.shape[-3]:
            taken[..., place, :, :] = volumes[..., d + offset, :, :]
    return taken


def _choose_voxel(study: TrainingStudy, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return the voxel that a patch must show: of a lesion, the larger the likelier, or of the head."""
    if study.lesion_voxels and chance(rng, LESION_FRACTION):
        shares = np.array([len(voxels) for voxels in study.lesion_voxels]) ** VOLUME_POWER
        voxels = study.lesion_voxels[rng.choice(len(shares), p=shares / shares.sum())]
        d, h, w = voxels[rng.integers(len(voxels))].tolist()
        return d, h, w
    for _ in range(HEAD_TRIES):
        d, h, w = (int(rng.integers(size)) for size in study.target.shape)
        if study.voxels[T1C, d, h, w]:
            break
    return d, h, w


def _place(at: int, size: int, rng: np.random.Generator) -> int:
    """Return where on one axis of a patch a voxel of the study is shown, so that the patch shows much of the head."""
    if size <= PATCH_SIZE:
        start = int(rng.integers(size - PATCH_SIZE, 1))
    else:
        start = int(np.clip(at - rng.integers(16, PATCH_SIZE - 16), 0, size - PATCH_SIZE))
    return at - start


def _augment(
    slices: NDArray[np.float32], present: tuple[bool, ...], rng: np.random.Generator, *, dropped: float
) -> None:
    """Drop sequences, and shift, stretch and roughen the intensities of the others, in place."""
    for channel, there in enumerate(present):
        if not there or (channel != T1C and chance(rng, dropped)):
            slices[channel] = 0.0
            continue
        inside = slices[channel] != 0.0
        slices[channel] *= uniform(rng, 0.8, 1.25)
        slices[channel] += inside * np.float32(uniform(rng, -0.25, 0.25))
        if chance(rng, NOISY):
            grain = rng.standard_normal(slices[channel].shape, dtype=np.float32) * np.float32(uniform(rng, 0.05, 0.25))
            slices[channel] += inside * grain
