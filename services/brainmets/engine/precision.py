"""Owns precision: the graph in half precision, and the gate that every graph and plan passes before it is served."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from brainmets.engine.served_model import ServedModel
from brainmets.imaging.errors import ModelContractError

# Largest difference of a probability, and least share of voxels that are decided alike.
MOST_DIFFERENCE = 0.02
LEAST_AGREEMENT = 0.999
# Sums of many products lose what half precision cannot hold; the last step stays exact.
EXACT_OPERATORS = ["Sigmoid", "Resize", "Upsample"]

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Gives the probability (B, 1, D, H, W) of a tile (B, C, D + 2 halo, H, W)."""


class Precision(StrEnum):
    """What a plan computes in."""

    FP32 = "fp32"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True)
class Parity:
    """How near a graph or plan comes to the network in float32.

    Attributes:
        largest_difference: Of a probability.
        agreement: Share of voxels on the same side of the threshold.
    """

    largest_difference: float
    agreement: float


def write_graph(model: ServedModel, precision: Precision) -> bytes:
    """Return a model's graph in a precision; its tensors outside stay float32.

    The precision lies in the graph, because TensorRT 11 has no flag for it any more: networks are strongly typed.
    """
    if precision is Precision.FP32:
        return model.content
    graph = onnx.load_from_string(model.content)
    half = convert_float_to_float16(graph, keep_io_types=True, op_block_list=EXACT_OPERATORS)
    return bytes(half.SerializeToString())


def infer_on_cpu(content: bytes) -> Infer:
    """Return inference of a graph by ONNX Runtime on the CPU, which rounds where the graph says half."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def infer(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        (probability,) = session.run(None, {given.name: tile})
        answer: NDArray[np.float32] = probability
        return answer

    return infer


def check_parity(model: ServedModel, infer: Infer) -> Parity:
    """Return how near an inference comes to the model's own graph in float32, over random tiles.

    Raises:
        ModelContractError: Not near enough, or no number; an engine that answers nothing but zeros fails too.
    """
    exact = infer_on_cpu(model.content)
    differences, alike = [], []
    for tile in model.make_tiles():
        expected, got = exact(tile), infer(tile)
        differences.append(float(np.abs(expected - got).max()))
        alike.append(float(((expected >= model.threshold) == (got >= model.threshold)).mean()))
    parity = Parity(max(differences), min(alike))
    # Written so that a NaN fails too.
    if not (parity.largest_difference <= MOST_DIFFERENCE and parity.agreement >= LEAST_AGREEMENT):
        raise ModelContractError(
            f"Model {model.folder.name} computes something else in this precision",
            expected=f"probabilities within {MOST_DIFFERENCE:g} and {LEAST_AGREEMENT:.1%} of voxels decided alike",
            got=f"{parity.largest_difference:.2g} and {parity.agreement:.2%}",
            remedy="serve its ONNX file, which is left in place, or build in fp32",
        )
    return parity
