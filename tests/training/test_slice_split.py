"""Tests of the random split of slices: what is kept is never learned from, and is what is asked."""

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from brainmets.training.context import OFFSETS, SERVED
from brainmets.training.heads import CHANNELS, T1C
from brainmets.training.loss import segmentation_loss
from brainmets.training.networks.blocks import PLANAR, SegmentationNetwork
from brainmets.training.patches import cut_patch
from brainmets.training.slice_split import choose_kept_slices, hide_kept_slices, score_kept_slices
from brainmets.training.studies import TrainingStudy

DEPTH, SIZE = 60, 40


def make_study() -> TrainingStudy:
    """Return a study whose lesion is a bright column through all of its slices."""
    voxels = np.full((CHANNELS, DEPTH, SIZE, SIZE), -1.0, dtype=np.float16)
    target = np.zeros((DEPTH, SIZE, SIZE), dtype=np.bool_)
    target[:, 10:20, 10:20] = True
    voxels[T1C][target] = 3.0
    return TrainingStudy(
        voxels, target, np.ones(target.shape, np.float16), (np.argwhere(target).astype(np.int16),), (True,) * CHANNELS
    )


class Brightness(SegmentationNetwork):
    """A network that decides by the T1c of the slice itself."""

    def __init__(self) -> None:
        super().__init__(PLANAR)

    def supervise(self, slices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the T1c of the slice at offset 0."""
        middle = SERVED.offsets.index(0)
        return (slices[:, middle : middle + 1],)


def test_about_a_fifth_of_the_slices_is_kept() -> None:
    """The same ones each time."""
    kept = choose_kept_slices(make_study())
    assert 0.1 < kept.mean() < 0.3
    assert np.array_equal(kept, choose_kept_slices(make_study()))


def test_nothing_is_learned_from_what_is_kept() -> None:
    """Its voxels weigh nothing and none is chosen for a patch; all others stay as they were."""
    study = make_study()
    kept = choose_kept_slices(study)
    hidden = hide_kept_slices(study)
    assert not hidden.weight[kept].any()
    assert (hidden.weight[~kept] == 1.0).all()
    (voxels,) = hidden.lesion_voxels
    assert set(np.unique(voxels[:, 0])) == set(np.flatnonzero(~kept))


def test_a_voxel_without_weight_changes_no_loss() -> None:
    """However wrong it is."""
    target, weight = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    weight[..., :4] = 0.0
    right, wrong = torch.full((1, 1, 8, 8), -9.0), torch.full((1, 1, 8, 8), -9.0)
    wrong[..., :4] = 9.0
    losses = [segmentation_loss((logits,), target, weight=weight) for logits in (right, wrong)]
    assert torch.equal(*losses)


def test_every_kept_slice_that_holds_lesion_is_scored() -> None:
    """A network that sees the lesion has Dice 1 in each, whatever the slices' size is to its stride."""
    study = make_study()
    assert score_kept_slices(Brightness(), SERVED, [study]) == [1.0] * int(choose_kept_slices(study).sum())


def test_a_patch_of_a_hidden_slice_teaches_nothing() -> None:
    """However the patch is turned, no voxel of the study has weight in it."""
    study = make_study()
    hidden = replace(study, weight=np.zeros_like(study.weight))
    for seed in range(8):
        slices, _, weight = cut_patch(hidden, np.random.default_rng(seed), context=SERVED, dropped=0.0)
        shown = ndimage.binary_erosion(slices[OFFSETS.index(0)] != 0.0, iterations=3)
        assert shown.any()
        assert weight[0][shown].max() < 1e-3  # interpolated
