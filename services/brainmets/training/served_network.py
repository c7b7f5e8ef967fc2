"""Owns the network as it is served: a tile in, its probability out, unfolding and sigmoid inside."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from brainmets.training.context import HALO, Context
from brainmets.training.networks.blocks import STRIDE, DoubleConvolution, SegmentationNetwork


class ServedNetwork(nn.Module):
    """A network behind the model contract, which is the same for planar and volumetric ones.

    Each slice is sent once and stacked with its neighbours here, so that a tile's bytes do not travel seven times.
    """

    def __init__(self, network: SegmentationNetwork, *, context: Context, temperature: float = 1.0) -> None:
        """Take a trained network.

        Args:
            network: The network.
            context: The slices that it sees.
            temperature: What its log-odds are divided by (Guo et al. 2017, arXiv:1706.04599, section 4.2).
        """
        super().__init__()
        self.context = context
        self.temperature = temperature
        self.network = fold_normalisation(network.eval())

    def forward(self, tile: Tensor) -> Tensor:
        """Return the probability (B, 1, D, H, W) of a tile (B, C, D + 2h, H, W)."""
        logits = self._decide_volume(tile) if self.context.volumetric else self._decide_slices(tile)
        return torch.sigmoid(logits / self.temperature)

    def _decide_slices(self, tile: Tensor) -> Tensor:
        batch, _, slices, height, width = tile.shape
        depth = slices - 2 * HALO
        shifted = [tile[:, :, HALO + offset : HALO + offset + depth] for offset in self.context.offsets]
        unfolded = torch.stack(shifted, dim=2)  # (B, C, S, D, H, W), S slices of context
        stacked = unfolded.permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)  # (B D, C S, H, W)
        logits: Tensor = self.network(stacked)
        return logits.reshape(batch, 1, depth, height, width)

    def _decide_volume(self, tile: Tensor) -> Tensor:
        batch, channels, slices, height, width = tile.shape
        # Air above, where the poolings do not divide the slices of a tile and its halo.
        air = STRIDE * ((slices + STRIDE - 1) // STRIDE) - slices
        padded = torch.cat([tile, tile.new_zeros(batch, channels, air, height, width)], dim=2)
        logits: Tensor = self.network(padded)
        return logits[:, :, HALO : slices - HALO]


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
