"""Owns the random split of slices: what a network is asked when slices of one patient lie on both sides of a split.

Neighbouring slices are nearly the same picture, so that its figures flatter; they are only to be read beside those of
patients that were never seen.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from brainmets.imaging.evaluation import overlap
from brainmets.training.context import Context
from brainmets.training.heads import HALF
from brainmets.training.networks.blocks import STRIDE, SegmentationNetwork
from brainmets.training.studies import TrainingStudy

# One slice of five is kept for the question.
KEPT_SHARE = 0.2
SPLIT_SEED = 40_000
SLICE_SPLIT_NAME = "slice-split.json"


def choose_kept_slices(study: TrainingStudy) -> NDArray[np.bool_]:
    """Return which slices (D,) of a study are kept out of training, always the same for a number of slices."""
    drawn = np.random.default_rng(SPLIT_SEED).random(study.target.shape[0])
    kept: NDArray[np.bool_] = np.less(drawn, KEPT_SHARE)
    return kept


def hide_kept_slices(study: TrainingStudy) -> TrainingStudy:
    """Return the study with nothing to be learned from the slices that are kept: their errors cost nothing."""
    kept = choose_kept_slices(study)
    weight = np.where(kept[:, None, None], np.float16(0.0), study.weight)
    lesions = (voxels[~kept[voxels[:, 0]]] for voxels in study.lesion_voxels)
    return replace(study, weight=weight, lesion_voxels=tuple(voxels for voxels in lesions if len(voxels)))


def score_kept_slices(network: SegmentationNetwork, context: Context, studies: Iterable[TrainingStudy]) -> list[float]:
    """Return the Dice of each kept slice that holds lesion, at a probability of one half.

    Args:
        network: A planar network, ready to decide.
        context: The slices that it sees.
        studies: Those that it was trained on, with their kept slices hidden.
    """
    scores = []
    for study in studies:
        holding = choose_kept_slices(study) & study.target.any(axis=(1, 2))
        for d in np.flatnonzero(holding):
            decided = _decide_slice(network, context, study, int(d))
            scores.append(overlap(study.target[d], decided))
    return scores


def _decide_slice(network: SegmentationNetwork, context: Context, study: TrainingStudy, d: int) -> NDArray[np.bool_]:
    depth, height, width = study.target.shape
    slices = np.zeros((study.voxels.shape[0], len(context.offsets), height, width), dtype=np.float32)
    for seen, offset in enumerate(context.offsets):
        if 0 <= d + offset < depth:
            slices[:, seen] = study.voxels[:, d + offset]
    padded = functional.pad(torch.from_numpy(context.arrange(slices))[None], (0, -width % STRIDE, 0, -height % STRIDE))
    with torch.inference_mode():
        probability = torch.sigmoid(network(padded))[0, 0, :height, :width].numpy()
    decided: NDArray[np.bool_] = probability > HALF
    return decided
