"""Owns the recalibration of an exported network: another temperature and other points, without its checkpoint.

So whoever serves a network can choose both on studies of their own.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.tile_contract import OUTPUT_NAME
from brainmets.runtime.network_version import find_graph
from brainmets.training.decisions import Decision
from brainmets.training.export import replace_version
from brainmets.training.model_card import CARD_NAME, load_facts, write_card

# What is true of a network at its old temperature and points alone.
OUTDATED_FACTS = ("int8", "metrics")
TEMPERATURE_DIGITS = 3


def recalibrate_network(folder: Path, decision: Decision) -> None:
    """Give an exported network a decision, and take away what no longer holds: its int8 graph, plans and metrics.

    Args:
        folder: The network's, in the model repository.
        decision: Chosen on what the network says now: its temperature comes on top of the network's own.

    Raises:
        ModelContractError: The graph does not end in a sigmoid of log-odds over a temperature; nothing is written.
    """
    model = onnx.load(find_graph(folder))
    temperature = read_temperature(model) * decision.temperature
    replace_graph(
        folder, model, temperature, operating_points={name: asdict(point) for name, point in decision.points.items()}
    )


def replace_graph(folder: Path, model: ModelProto, temperature: float, **facts: object) -> None:
    """Give an exported network another graph of its contract, and take away what no longer holds.

    Args:
        folder: The network's, in the model repository.
        model: The graph; changed in place.
        temperature: What its log-odds are to be divided by, rounded here.
        **facts: What else its card says from now on.

    Raises:
        ModelContractError: The graph does not end in a sigmoid of log-odds over a temperature; nothing is written.
    """
    rounded = round(temperature, TEMPERATURE_DIGITS)
    divisor = _find_temperature(model)
    divisor.CopyFrom(numpy_helper.from_array(np.array(rounded, dtype=np.float32), divisor.name))
    content = model.SerializeToString()
    card = {key: fact for key, fact in load_facts(folder / CARD_NAME).items() if key not in OUTDATED_FACTS}
    told = {"onnx_sha256": hashlib.sha256(content).hexdigest(), "temperature": rounded, **facts}
    replace_version(folder, content)
    write_card(folder, {**card, **told})


def read_temperature(model: ModelProto) -> float:
    """Return what a graph's log-odds are divided by.

    Raises:
        ModelContractError: It does not end in a sigmoid of log-odds over a temperature.
    """
    return float(numpy_helper.to_array(_find_temperature(model)))


def _find_temperature(model: ModelProto) -> TensorProto:
    """Return what a graph's log-odds are divided by before its sigmoid."""
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {weight.name: weight for weight in model.graph.initializer}
    sigmoid = makers.get(OUTPUT_NAME)
    division = makers.get(sigmoid.input[0]) if sigmoid is not None and sigmoid.op_type == "Sigmoid" else None
    if division is None or division.op_type != "Div" or division.input[1] not in weights:
        raise ModelContractError(
            "The graph has no temperature to change",
            expected=f"{OUTPUT_NAME} = Sigmoid(log-odds / constant)",
            got="another end" if sigmoid is None else sigmoid.op_type,
            remedy="export the network anew from its checkpoint",
        )
    return weights[division.input[1]]
