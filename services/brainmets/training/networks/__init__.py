"""Owns the networks: one file each, found by Triton's name of them."""

from collections.abc import Mapping
from types import MappingProxyType

from brainmets.training.networks.attention_unet import AttentionUnet
from brainmets.training.networks.blocks import PLANAR, WIDTHS, SegmentationNetwork, Space
from brainmets.training.networks.nested_unet import NestedUnet

NETWORKS: Mapping[str, type[NestedUnet] | type[AttentionUnet]] = MappingProxyType(
    {"nested_unet": NestedUnet, "attention_unet": AttentionUnet}
)


def build_network(
    name: str, *, input_channels: int, space: Space = PLANAR, widths: tuple[int, ...] = WIDTHS
) -> SegmentationNetwork:
    """Return a network with fresh parameters.

    Args:
        name: Its name in the model repository.
        input_channels: Sequences times slices of context; sequences alone in a volumetric network.
        space: `PLANAR` (2-D, 2.5-D) or `VOLUMETRIC` (3-D).
        widths: Feature maps of each level, the finest first.

    Raises:
        KeyError: There is no network of that name; `NETWORKS` lists them.
    """
    return NETWORKS[name](input_channels, space=space, widths=widths)
