"""Owns the mean of two networks: one graph, each of whose parameters is the mean of theirs.

Two ends of one training, or of a training and another that went on from it, lie in one valley of the loss, and what
lies between them often generalises better than either (Izmailov 2018, section 3; Wortsman 2022).
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.network_version import find_graph
from brainmets.training.recalibration import read_temperature, replace_graph


def average_networks(folder: Path, other: Path) -> None:
    """Give an exported network the mean of its parameters and another's; its decision has to be chosen anew.

    Args:
        folder: The network's, in the model repository.
        other: Another export of the same network.

    Raises:
        ModelContractError: The graphs differ in more than their parameters; nothing is written.
    """
    model, second = (onnx.load(find_graph(each)) for each in (folder, other))
    theirs = {weight.name: numpy_helper.to_array(weight) for weight in second.graph.initializer}
    if _outline(model) != _outline(second):
        raise ModelContractError(
            "The networks cannot be averaged",
            expected="two exports of one network, one trained on from the other",
            got="graphs of other nodes or sizes",
            remedy="name another folder",
        )
    for weight in model.graph.initializer:
        ours = numpy_helper.to_array(weight)
        if ours.dtype == np.float32:
            mean = ((ours + theirs[weight.name]) / 2.0).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(mean, weight.name))
    replace_graph(folder, model, read_temperature(model))


def _outline(model: ModelProto) -> tuple[list[bytes], list[tuple[str, tuple[int, ...]]]]:
    """Return a graph without the values of its parameters."""
    nodes = [node.SerializeToString(deterministic=True) for node in model.graph.node]
    return nodes, [(weight.name, tuple(weight.dims)) for weight in model.graph.initializer]
