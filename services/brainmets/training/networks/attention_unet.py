"""Owns the Attention U-Net."""

import torch
from torch import Tensor, nn

from brainmets.training.networks.blocks import (
    WIDTHS,
    DoubleConvolution,
    SliceNetwork,
    check_size,
    double,
    halve,
    make_head,
)

LEVELS = len(WIDTHS)


class AttentionGate(nn.Module):
    """An additive attention gate: weighs a skip connection's features x by what the coarser signal g asks for.

    It works at the gating signal's resolution and its coefficients are brought back to that of x.

    References:
        Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas, MIDL, arXiv:1804.03999,
        equations 1 and 2 and figure 2.
    """

    def __init__(self, channels_x: int, channels_g: int) -> None:
        super().__init__()
        channels_int = max(1, channels_x // 2)  # F_int of the paper
        self.w_x = nn.Conv2d(channels_x, channels_int, 2, stride=2, bias=False)
        self.w_g = nn.Conv2d(channels_g, channels_int, 1)  # its bias is b_g
        self.psi = nn.Conv2d(channels_int, 1, 1)  # its bias is b_psi

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Return x̂ = alpha x with x (B, F_l, H, W) and g (B, F_g, H/2, W/2).

        Equation 1: q = ψᵀ σ₁(W_xᵀ x + W_gᵀ g + b_g) + b_ψ; equation 2: alpha = σ₂(q).
        σ₁ is ReLU and σ₂ the sigmoid.
        """
        q = self.psi(torch.relu(self.w_x(x) + self.w_g(g)))
        alpha = torch.sigmoid(q)
        return x * double(alpha)


class AttentionUnet(SliceNetwork):
    """A U-Net of five levels whose skip connections pass attention gates.

    References:
        Oktay et al. 2018, arXiv:1804.03999, figure 1.
    """

    def __init__(self, input_channels: int) -> None:
        super().__init__()
        widths_in = (input_channels, *WIDTHS[:-1])
        self.encoders = nn.ModuleList(
            DoubleConvolution(below, width) for below, width in zip(widths_in, WIDTHS, strict=True)
        )
        self.gates = nn.ModuleList(AttentionGate(WIDTHS[i], WIDTHS[i + 1]) for i in range(LEVELS - 1))
        self.decoders = nn.ModuleList(
            DoubleConvolution(WIDTHS[i] + WIDTHS[i + 1], WIDTHS[i]) for i in range(LEVELS - 1)
        )
        self.head = make_head()

    def supervise(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, 1, H, W) of the one output."""
        check_size(slices)
        skips: list[Tensor] = []
        features = slices
        for i, encoder in enumerate(self.encoders):
            features = encoder(features if i == 0 else halve(features))
            skips.append(features)
        for i in reversed(range(LEVELS - 1)):
            gated = self.gates[i](skips[i], features)
            features = self.decoders[i](torch.cat([gated, double(features)], dim=1))
        return (self.head(features),)
