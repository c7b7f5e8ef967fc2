"""Owns the Nested U-Net (U-Net++)."""

import torch
from torch import Tensor, nn

from brainmets.training.networks.blocks import (
    PLANAR,
    WIDTHS,
    DoubleConvolution,
    SegmentationNetwork,
    Space,
    check_size,
    double,
    make_head,
)


class NestedUnet(SegmentationNetwork):
    """U-Net++ with deep supervision; five levels unless other widths are given.

    Node X^{i,j} lies at level i, where features have 1/2^i of the resolution, and is the j-th on its skip pathway.
    The outputs of X^{0,1} to X^{0,4} are all trained; the last decides, and the other heads are pruned at export.

    References:
        Zhou et al. 2018, UNet++: A Nested U-Net Architecture for Medical Image Segmentation, DLMIA, LNCS 11045:3,
        equation 1 (nodes) and section 3.2 (deep supervision).
    """

    def __init__(self, input_channels: int, *, space: Space = PLANAR, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__(space)
        self.levels = len(widths)
        self.nodes = nn.ModuleDict()
        for i, width in enumerate(widths):
            below = input_channels if i == 0 else widths[i - 1]
            self.nodes[_name(i, 0)] = DoubleConvolution(below, width, space)
            for j in range(1, self.levels - i):
                self.nodes[_name(i, j)] = DoubleConvolution(j * width + widths[i + 1], width, space)
        self.heads = nn.ModuleList(make_head(widths[0], space) for _ in range(1, self.levels))

    def supervise(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, 1, ...) of X^{0,1} to X^{0,4}."""
        finest = self._finest(slices)
        return tuple(head(features) for head, features in zip(self.heads, finest, strict=True))

    def forward(self, slices: Tensor) -> Tensor:
        """Return the logits (B, 1, ...) of X^{0,4}."""
        logits: Tensor = self.heads[-1](self._finest(slices)[-1])
        return logits

    def _finest(self, slices: Tensor) -> list[Tensor]:
        """Return X^{0,1} to X^{0,4}.

        Equation 1: x^{i,j} = H(x^{i-1,j}) on the backbone, where j = 0, and
        H([x^{i,0}, ..., x^{i,j-1}, U(x^{i+1,j-1})]) on the skip pathways.
        """
        check_size(slices, levels=self.levels)
        x: dict[tuple[int, int], Tensor] = {}
        for i in range(self.levels):
            x[i, 0] = self.nodes[_name(i, 0)](slices if i == 0 else self.halve(x[i - 1, 0]))
            for j in range(1, i + 1):
                level = i - j
                skips = [x[level, k] for k in range(j)]
                x[level, j] = self.nodes[_name(level, j)](torch.cat([*skips, double(x[level + 1, j - 1])], dim=1))
        return [x[0, j] for j in range(1, self.levels)]


def _name(i: int, j: int) -> str:
    return f"x_{i}_{j}"
