"""Owns the way back from a served graph to a network that can be trained on."""

import hashlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.runtime.network_version import find_graph
from brainmets.training.networks.blocks import DoubleConvolution, SegmentationNetwork
from brainmets.training.patches import Batch
from brainmets.training.world import World

# Batches over which the spread of every feature is measured: some hundred patches tell it well.
MEASURED_BATCHES = 12
# `ServedNetwork` calls the network within it so.
PREFIX = "network."


def load_served_weights(network: SegmentationNetwork, folder: Path) -> None:
    """Set a network's parameters to those of a served graph; in evaluation mode it then computes what the graph does.

    Heads that export prunes keep what they have. See `restore_normalisation` for training mode.

    Args:
        network: The network, with fresh normalisation.
        folder: A folder of the model repository.

    Raises:
        InvalidArgumentError: The graph is of another network, of other widths or of another context.
        ModelContractError: There is none.
    """
    served = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(find_graph(folder)).graph.initializer
        if tensor.name.startswith(PREFIX)
    }
    if not served:
        raise _refuse("a graph without its parameters")
    with torch.no_grad():
        for name, parameter in _folded_parameters(network).items():
            value = served.pop(name, None)
            if value is None and not name.startswith("heads."):
                raise _refuse(f"a graph without {name}")
            if value is not None:
                if value.shape != parameter.shape:
                    raise _refuse(f"{name} of {tuple(value.shape)}")
                parameter.copy_(value)
    if served:
        raise _refuse(f"a graph with {next(iter(served))}")


def digest_graph(folder: Path) -> str:
    """Return the SHA-256, lower-case hexadecimal, of the graph in a folder of the model repository.

    Raises:
        ModelContractError: There is none.
    """
    return hashlib.sha256(find_graph(folder).read_bytes()).hexdigest()


def _folded_parameters(network: SegmentationNetwork) -> dict[str, Tensor]:
    """Return a network's parameters by the names that they have once normalisation is folded into convolutions.

    A convolution's bias is then what is the shift of the normalisation after it.
    """
    parameters = dict[str, Tensor](network.named_parameters())
    for block_name, block in network.named_modules():
        if isinstance(block, DoubleConvolution):
            for place, layer in enumerate(block):
                if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                    del parameters[f"{block_name}.{place}.weight"]
                    parameters[f"{block_name}.{place - 1}.bias"] = parameters.pop(f"{block_name}.{place}.bias")
    return parameters


def _refuse(found: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The graph to start from is of another network",
        expected="the same network, widths and slices of context as are to be trained",
        got=found,
        remedy="name the folder of that network, or leave --start out",
    )


def restore_normalisation(network: SegmentationNetwork, batches: Iterable[Batch], world: World) -> None:
    """Give a network whose batch normalisation was folded away its normalisation back.

    Folded, a convolution's output is what normalisation would make of it. The mean and spread of every feature are
    measured, and what normalisation takes away is given back by its own scale and shift: the network computes the same
    as before, and in training too, where the mean and spread are each batch's own.

    References:
        Ioffe and Szegedy 2015, Batch Normalization, ICML, arXiv:1502.03167, algorithm 1 and section 3.1.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
    shifts = {layer: layer.bias.detach().clone() for layer in layers}
    sums = {layer: torch.zeros(2, layer.num_features, dtype=torch.float64) for layer in layers}
    seen = 0

    def measure(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        features = given[0].detach().double().transpose(0, 1).flatten(1)
        sums[layer] += torch.stack([features.mean(dim=1), features.square().mean(dim=1)]).cpu()  # type: ignore[index] # one of layers

    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    network.eval()
    with torch.inference_mode():
        for batch in islice(batches, MEASURED_BATCHES):
            network.supervise(batch.slices.to(world.device))
            seen += 1
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for layer in layers:
            mean, square = sums[layer] / seen
            variance = (square - mean.square()).clamp_min(0.0)
            layer.running_mean.copy_(mean)  # type: ignore[union-attr] # tracked, as is torch's default
            layer.running_var.copy_(variance)  # type: ignore[union-attr] # the same
            layer.weight.copy_((variance + layer.eps).sqrt())
            layer.bias.copy_(mean + shifts[layer])
