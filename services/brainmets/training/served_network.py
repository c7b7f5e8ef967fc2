"""Owns the network as it is served: a tile in, its probability out, unfolding and sigmoid inside."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from brainmets.training.networks.blocks import DoubleConvolution, SegmentationNetwork
from brainmets.training.patches import CONTEXT, HALO


class ServedNetwork(nn.Module):
    """A slice network behind the model contract.

    Each slice is sent once and stacked with its neighbours here, so that a tile's bytes do not travel seven times.
    """

    def __init__(self, network: SegmentationNetwork, *, temperature: float = 1.0) -> None:
        """Take a trained network.

        Args:
            network: The network.
            temperature: What its log-odds are divided by (Guo et al. 2017, arXiv:1706.04599, section 4.2).
        """
        super().__init__()
        self.temperature = temperature
        self.network = fold_normalisation(network.eval())

    def forward(self, tile: Tensor) -> Tensor:
        """Return the probability (B, 1, D, H, W) of a tile (B, C, D + 2h, H, W)."""
        batch, _, slices, height, width = tile.shape
        depth = slices - 2 * HALO
        shifted = [tile[:, :, HALO + offset : HALO + offset + depth] for offset in CONTEXT]
        unfolded = torch.stack(shifted, dim=2)  # (B, C, S, D, H, W), S slices of context
        stacked = unfolded.permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)  # (B D, C S, H, W)
        probability = torch.sigmoid(self.network(stacked) / self.temperature)
        return probability.reshape(batch, 1, depth, height, width)


def fold_normalisation(network: SegmentationNetwork) -> SegmentationNetwork:
    """Fold every batch normalisation into the convolution before it, in place, and return the network."""
    for block in [module for module in network.modules() if isinstance(module, DoubleConvolution)]:
        for index, (convolution, normalisation) in enumerate(itertools.pairwise(list(block))):
            if isinstance(convolution, nn.Conv2d | nn.Conv3d) and isinstance(
                normalisation, nn.BatchNorm2d | nn.BatchNorm3d
            ):
                block[index] = fuse_conv_bn_eval(convolution, normalisation)
                block[index + 1] = nn.Identity()
    return network
