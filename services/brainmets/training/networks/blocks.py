"""Owns what the networks are built of: their widths, the double convolution, and the port that both keep."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmets.imaging.errors import InvalidArgumentError

# Feature maps of the five levels of what is shipped. Width 16 costs a quarter of 32 and still finds metastases.
WIDTHS = (16, 32, 64, 128, 256)
# Rows and columns must be a multiple of it: one halving for each level below the first.
STRIDE = 2 ** (len(WIDTHS) - 1)
# Log-odds of a voxel being lesion before anything was seen: about one in a hundred, so that training starts calm.
PRIOR_LOGIT = -4.6


@dataclass(frozen=True, slots=True)
class Space:
    """The layers of planar (2-D and 2.5-D, where neighbouring slices are channels) or volumetric (3-D) networks.

    Attributes:
        axes: Number of axes of a sample that are space.
        convolution: Its convolution.
        normalisation: Its batch normalisation.
        halve: Maximum over neighbours, at half the resolution.
    """

    axes: int
    convolution: type[nn.Conv2d] | type[nn.Conv3d]
    normalisation: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    halve: Callable[[Tensor, int], Tensor]


PLANAR = Space(2, nn.Conv2d, nn.BatchNorm2d, functional.max_pool2d)
VOLUMETRIC = Space(3, nn.Conv3d, nn.BatchNorm3d, functional.max_pool3d)


class SegmentationNetwork(nn.Module, ABC):
    """A network that decides voxels: of one axial slice from it and its neighbours, or of a volume.

    A planar network's input is (B, C · S, H, W): each sequence's S slices of context, one sequence after the other. A
    volumetric network's is (B, C, D, H, W). Either gives logits (B, 1, ...) of the same size.

    Args:
        space: Planar or volumetric.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def supervise(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, 1, ...) of every output that is trained, the deciding one last."""

    def forward(self, slices: Tensor) -> Tensor:
        """Return the logits (B, 1, ...) that decide."""
        return self.supervise(slices)[-1]

    def halve(self, features: Tensor) -> Tensor:
        """Return features at half the resolution."""
        return self.space.halve(features, 2)


class DoubleConvolution(nn.Sequential):
    """Two convolutions over 3 voxels on each axis, each with batch normalisation (folded at export) and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, space: Space) -> None:
        super().__init__(
            space.convolution(channels_in, channels_out, 3, padding=1, bias=False),
            space.normalisation(channels_out),
            nn.ReLU(inplace=True),
            space.convolution(channels_out, channels_out, 3, padding=1, bias=False),
            space.normalisation(channels_out),
            nn.ReLU(inplace=True),
        )


def double(features: Tensor) -> Tensor:
    """Return features at twice the resolution, by repetition, which is the cheapest and leaves no seams."""
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def make_head(width: int, space: Space) -> nn.Conv2d | nn.Conv3d:
    """Return the convolution over single voxels from the finest features to logits, biased to the prior."""
    head = space.convolution(width, 1, 1)
    if head.bias is not None:
        nn.init.constant_(head.bias, PRIOR_LOGIT)
    return head


def check_size(slices: Tensor, *, levels: int) -> None:
    """Refuse slices or volumes that the poolings do not divide.

    Raises:
        InvalidArgumentError: The size on an axis is no multiple of 2 for each halving.
    """
    # A graph that is being exported holds no sizes to check: there the served contract's stride does it.
    if torch.compiler.is_compiling():
        return
    stride = 2 ** (levels - 1)
    sizes = tuple(slices.shape[2:])
    if any(size % stride for size in sizes):
        nearest = " x ".join(str(max(stride, stride * round(size / stride))) for size in sizes)
        raise InvalidArgumentError(
            "The network's poolings do not divide this input",
            expected=f"sizes that are multiples of {stride}",
            got=" x ".join(str(size) for size in sizes),
            remedy=f"pad or crop it, to {nearest} for instance",
        )
