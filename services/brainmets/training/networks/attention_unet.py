"""Owns the Attention U-Net."""

import itertools

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


class AttentionGate(nn.Module):
    """An additive attention gate: weighs a skip connection's features x by what the coarser signal g asks for.

    It works at the gating signal's resolution and its coefficients are brought back to that of x.

    References:
        Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas, MIDL, arXiv:1804.03999,
        equations 1 and 2 and figure 2.
    """

    def __init__(self, channels_x: int, channels_g: int, space: Space) -> None:
        super().__init__()
        channels_int = max(1, channels_x // 2)  # F_int of the paper
        self.w_x = space.convolution(channels_x, channels_int, 2, stride=2, bias=False)
        self.w_g = space.convolution(channels_g, channels_int, 1)  # its bias is b_g
        self.psi = space.convolution(channels_int, 1, 1)  # its bias is b_psi

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Return x̂ = alpha x with x (B, F_l, ...) and g (B, F_g, ...) at half its resolution.

        Equation 1: q = ψᵀ σ₁(W_xᵀ x + W_gᵀ g + b_g) + b_ψ; equation 2: alpha = σ₂(q).
        σ₁ is ReLU and σ₂ the sigmoid.
        """
        q = self.psi(torch.relu(self.w_x(x) + self.w_g(g)))
        alpha = torch.sigmoid(q)
        return x * double(alpha)


class AttentionUnet(SegmentationNetwork):
    """A U-Net whose skip connections pass attention gates; five levels unless other widths are given.

    References:
        Oktay et al. 2018, arXiv:1804.03999, figure 1.
    """

    def __init__(self, input_channels: int, *, space: Space = PLANAR, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__(space)
        self.levels = len(widths)
        widths_in = (input_channels, *widths[:-1])
        self.encoders = nn.ModuleList(
            DoubleConvolution(below, width, space) for below, width in zip(widths_in, widths, strict=True)
        )
        pairs = list(itertools.pairwise(widths))
        self.gates = nn.ModuleList(AttentionGate(width, below, space) for width, below in pairs)
        self.decoders = nn.ModuleList(DoubleConvolution(width + below, width, space) for width, below in pairs)
        self.head = make_head(widths[0], space)

    def supervise(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, 1, ...) of the one output."""
        check_size(slices, levels=self.levels)
        skips: list[Tensor] = []
        features = slices
        for i, encoder in enumerate(self.encoders):
            features = encoder(features if i == 0 else self.halve(features))
            skips.append(features)
        for i in reversed(range(self.levels - 1)):
            gated = self.gates[i](skips[i], features)
            features = self.decoders[i](torch.cat([gated, double(features)], dim=1))
        return (self.head(features),)
