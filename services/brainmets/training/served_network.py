"""Owns the network as it is served: a tile in, its probability out, unfolding and sigmoid inside."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from brainmets.training.networks.blocks import DoubleConvolution, SliceNetwork
from brainmets.training.patches import HALO


class ServedNetwork(nn.Module):
    """A slice network behind the model contract.

    Each slice is sent once and stacked with its neighbours here, so that a tile's bytes do not travel five times.
    """

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network = fold_normalisation(network.eval())

    def forward(self, tile: Tensor) -> Tensor:
        """Return the probability (B, 1, D, H, W) of a tile (B, C, D + 2h, H, W)."""
        batch, _, slices, height, width = tile.shape
        depth = slices - 2 * HALO
        shifted = [tile[:, :, first : first + depth] for first in range(2 * HALO + 1)]
        unfolded = torch.stack(shifted, dim=2)  # (B, C, 2h + 1, D, H, W)
        stacked = unfolded.permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)  # (B D, C (2h + 1), H, W)
        probability = torch.sigmoid(self.network(stacked))
        return probability.reshape(batch, 1, depth, height, width)


def fold_normalisation(network: SliceNetwork) -> SliceNetwork:
    """Fold every batch normalisation into the convolution before it, in place, and return the network."""
    for block in [module for module in network.modules() if isinstance(module, DoubleConvolution)]:
        for index, (convolution, normalisation) in enumerate(itertools.pairwise(list(block))):
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(convolution, normalisation)
                block[index + 1] = nn.Identity()
    return network
