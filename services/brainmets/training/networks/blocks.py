"""Owns what the networks are built of: their widths, the double convolution, and the port that both keep."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmets.imaging.errors import InvalidArgumentError

# Feature maps of the five levels. Width 16 costs a quarter of 32 and still finds metastases (docs/accuracy.md).
WIDTHS = (16, 32, 64, 128, 256)
# Rows and columns must be a multiple of it: one halving for each level below the first.
STRIDE = 2 ** (len(WIDTHS) - 1)
# Log-odds of a voxel being lesion before anything was seen: about one in a hundred, so that training starts calm.
PRIOR_LOGIT = -4.6


class SliceNetwork(nn.Module, ABC):
    """A network that decides one axial slice from it and its neighbours.

    Its input is (B, C · (2h + 1), H, W): every sequence's 2h + 1 slices, one sequence after the other.
    """

    @abstractmethod
    def supervise(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, 1, H, W) of every output that is trained, the deciding one last."""

    def forward(self, slices: Tensor) -> Tensor:
        """Return the logits (B, 1, H, W) that decide."""
        return self.supervise(slices)[-1]


class DoubleConvolution(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation (which folds into it at export) and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


def halve(features: Tensor) -> Tensor:
    """Return features at half the resolution."""
    return functional.max_pool2d(features, 2)


def double(features: Tensor) -> Tensor:
    """Return features at twice the resolution, by repetition, which is the cheapest and leaves no seams."""
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def make_head() -> nn.Conv2d:
    """Return the 1x1 convolution from the finest features to logits, biased to the prior."""
    head = nn.Conv2d(WIDTHS[0], 1, 1)
    if head.bias is not None:
        nn.init.constant_(head.bias, PRIOR_LOGIT)
    return head


def check_size(slices: Tensor) -> None:
    """Refuse slices that the poolings do not divide.

    Raises:
        InvalidArgumentError: Rows or columns are no multiple of `STRIDE`.
    """
    # A graph that is being exported holds no sizes to check: there the served contract's stride does it.
    if torch.compiler.is_compiling():
        return
    sizes = tuple(slices.shape[-2:])
    if any(size % STRIDE for size in sizes):
        nearest = " x ".join(str(max(STRIDE, STRIDE * round(size / STRIDE))) for size in sizes)
        raise InvalidArgumentError(
            "The network's poolings do not divide this slice",
            expected=f"rows and columns that are multiples of {STRIDE}",
            got=" x ".join(str(size) for size in sizes),
            remedy=f"pad or crop it, to {nearest} for instance",
        )
