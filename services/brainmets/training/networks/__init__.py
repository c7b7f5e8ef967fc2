"""Owns the networks: one file each, found by Triton's name of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from brainmets.training.networks.attention_unet import AttentionUnet
from brainmets.training.networks.blocks import SliceNetwork
from brainmets.training.networks.nested_unet import NestedUnet

NETWORKS: Mapping[str, Callable[[int], SliceNetwork]] = MappingProxyType(
    {"nested_unet": NestedUnet, "attention_unet": AttentionUnet}
)


def build_network(name: str, *, input_channels: int) -> SliceNetwork:
    """Return a network with fresh parameters.

    Args:
        name: Its name in the model repository.
        input_channels: Sequences times slices of context.

    Raises:
        KeyError: There is no network of that name; `NETWORKS` lists them.
    """
    return NETWORKS[name](input_channels)
