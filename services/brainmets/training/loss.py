"""Owns the loss: overlap in which every lesion counts, and the hardest voxels' cross-entropy."""

import torch
from torch import Tensor
from torch.nn import functional

# Share of a batch's voxels whose cross-entropy counts. Nearly all voxels are easy, and their mean says nothing.
HARDEST_FRACTION = 0.1
# Voxels that both sides of the Dice coefficient are given, so that a batch without lesions has one.
SMOOTHING = 50.0


def segmentation_loss(logits: tuple[Tensor, ...], target: Tensor, *, weight: Tensor) -> Tensor:
    """Return the mean over a network's outputs of 1 - Dice plus the hardest voxels' cross-entropy.

    Each output counts half as much as the next deeper one: the last decides, and the first sees too little to.

    Args:
        logits: (B, 1, H, W) each.
        target: (B, 1, H, W), 0 or 1.
        weight: (B, 1, H, W), what each voxel's error costs.

    References:
        Milletari et al. 2016, V-Net, 3DV, section 3 (soft Dice); Wu et al. 2016, arXiv:1605.06885 (hardest voxels).
    """
    shares = [0.5**depth for depth in reversed(range(len(logits)))]
    losses = [share * _loss(output.float(), target, weight) for share, output in zip(shares, logits, strict=True)]
    return torch.stack(losses).sum() / sum(shares)


def _loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    shared = (weight * probability * target).sum()
    total = (weight * (probability + target)).sum()
    dice = (2.0 * shared + SMOOTHING) / (total + SMOOTHING)
    entropy = weight * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    hardest = entropy.flatten().topk(int(HARDEST_FRACTION * entropy.numel()), sorted=False).values
    return 1.0 - dice + hardest.mean()
