"""Owns the ONNX graph: how it is written, and the gate that compares it with torch."""

import io

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.export import Dim

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME
from brainmets.training.context import HALO
from brainmets.training.heads import CHANNELS
from brainmets.training.networks.blocks import STRIDE
from brainmets.training.served_network import ServedNetwork

# What the ONNX Runtime of the production Triton image reads.
OPSET = 18
MAX_IR_VERSION = 10
# Largest difference of a probability between torch and ONNX Runtime, both in float32: rounding, not another network.
PARITY_TOLERANCE = 1e-4


def build_onnx(network: ServedNetwork) -> bytes:
    """Return the network as an ONNX file whose batch, slices, rows and columns may vary."""
    batch, depth = Dim("batch", min=1), Dim("slices", min=2 * HALO + 1)
    height, width = Dim("height_strides", min=1), Dim("width_strides", min=1)
    example = torch.zeros(2, CHANNELS, 3 + 2 * HALO, 3 * STRIDE, 2 * STRIDE)
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: batch, 2: depth, 3: STRIDE * height, 4: STRIDE * width},),
        verbose=False,
    )
    return write_onnx(program)


def write_onnx(program: torch.onnx.ONNXProgram | None) -> bytes:
    """Return an exported graph as the bytes of a file that production reads."""
    model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr] # only the other exporter returns None
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    file = io.BytesIO()
    onnx.save(model, file)
    return file.getvalue()


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes about its own run: paths of this machine among them."""
    del model.metadata_props[:]
    model.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for weight in model.graph.initializer:
        del weight.metadata_props[:]


def check_parity(network: ServedNetwork, content: bytes, *, tiles: tuple[NDArray[np.float32], ...]) -> float:
    """Return the largest difference between torch and ONNX Runtime over tiles (B, C, D + 2h, H, W).

    Raises:
        ModelContractError: It is above `PARITY_TOLERANCE`, or is no number.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for tile in tiles:
        with torch.inference_mode():
            expected = network(torch.from_numpy(tile)).numpy()
        (got,) = session.run([OUTPUT_NAME], {INPUT_NAME: tile})
        difference = float(np.abs(expected - got).max()) if got.shape == expected.shape else float("inf")
        # Written so that a NaN fails too.
        if not difference <= PARITY_TOLERANCE:
            raise ModelContractError(
                "The exported graph is another network than the trained one",
                expected=f"probabilities that differ by {PARITY_TOLERANCE} at most",
                got=f"a difference of {difference:.2g}",
                remedy="do not serve it; look for an operator that the exporter translates differently",
            )
        largest = max(largest, difference)
    return largest
