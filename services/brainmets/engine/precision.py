"""Owns precision: the graph in half precision, and the gate that every graph and plan passes before it is served."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
import onnxruntime
from onnxruntime.transformers.float16 import convert_float_to_float16

from brainmets.engine.served_model import ServedModel, Tile
from brainmets.imaging.errors import ModelContractError

# Least share of voxels that are decided alike.
LEAST_AGREEMENT = 0.9999
# A probability near the threshold turns on the last digits; resizing has no half precision in ONNX Runtime on the CPU.
EXACT_OPERATORS = ["Sigmoid", "Resize", "Upsample"]

Infer = Callable[[Tile], Tile]
"""Gives the probability (B, 1, D, H, W) of a tile (B, C, D + 2 halo, H, W)."""


class Precision(StrEnum):
    """What a plan computes in."""

    FP32 = "fp32"
    FP16 = "fp16"

    @property
    def most_difference(self) -> float:
        """Largest difference of a probability; half precision has 11 bits, and the shipped networks differ by 0.003."""
        return 5e-3 if self is Precision.FP16 else 1e-3


@dataclass(frozen=True, slots=True)
class Parity:
    """How near a graph or plan comes to the network in float32.

    Attributes:
        largest_difference: Of a probability.
        agreement: Share of voxels on the same side of the threshold, over all tiles.
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

    def infer(tile: Tile) -> Tile:
        (probability,) = session.run(None, {given.name: tile})
        answer: Tile = probability
        return answer

    return infer


def check_parity(model: ServedModel, infer: Infer, precision: Precision, *, tiles: tuple[Tile, ...]) -> Parity:
    """Return how near an inference comes to the model's own graph in float32.

    Raises:
        ModelContractError: Not near enough, or no number; or the network finds nothing in the tiles, so that an engine
            that answers nothing but zeros (MIC-DKFZ/nnUNet#3026) would pass.
    """
    exact = infer_on_cpu(model.content)
    expected = [exact(tile) for tile in tiles]
    if not any((each >= model.threshold).any() for each in expected):
        raise ModelContractError(
            f"Model {model.folder.name} cannot be compared in this precision",
            expected="a lesion found in one of the tiles that graphs are compared on",
            got="none",
            remedy="serve its ONNX file, which is left in place",
        )
    parity = _compare(expected, [infer(tile) for tile in tiles], threshold=model.threshold)
    # Written so that a NaN fails too.
    if not (parity.largest_difference <= precision.most_difference and parity.agreement >= LEAST_AGREEMENT):
        raise ModelContractError(
            f"Model {model.folder.name} computes something else in this precision",
            expected=f"probabilities within {precision.most_difference:g}, {LEAST_AGREEMENT:.2%} of voxels alike",
            got=f"{parity.largest_difference:.2g} and {parity.agreement:.3%}",
            remedy="serve its ONNX file, which is left in place, or build in fp32",
        )
    return parity


def _compare(expected: list[Tile], got: list[Tile], *, threshold: float) -> Parity:
    differences = np.concatenate([np.abs(one - other).ravel() for one, other in zip(expected, got, strict=True)])
    alike = [((one >= threshold) == (other >= threshold)).ravel() for one, other in zip(expected, got, strict=True)]
    return Parity(float(differences.max()), float(np.concatenate(alike).mean()))
