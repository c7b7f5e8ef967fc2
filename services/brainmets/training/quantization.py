"""Owns a network rounded to int8: a second graph beside the exact one, for processors that multiply bytes fastest.

References:
    Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    arXiv:1712.05877, equation 1; post-training, static, as in ONNX Runtime's `quantize_static`.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.evaluation import overlap
from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME
from brainmets.runtime.network_version import INT8_NAME, find_graph
from brainmets.training.early_rounding import round_early
from brainmets.training.heads import HALF
from brainmets.training.model_card import CARD_NAME, load_facts, write_card
from brainmets.training.real_tiles import Tile

# Between the decisions of both graphs over tiles that the rounding was not chosen on.
MIN_AGREEMENT_DICE = 0.99
# What takes the time; sums, poolings and attention's products stay as they are.
ROUNDED_OPERATORS = ["Conv", "ConvTranspose"]
DIGITS = 4


def quantize_network(folder: Path, tiles: Sequence[Tile]) -> None:
    """Write a network's int8 graph beside its ONNX file, and what it is into its card.

    Weights are rounded symmetrically for each output channel, what goes into a convolution between the extremes that it
    had over the tiles; what comes out stays in float32.

    Args:
        folder: The network's, in the model repository.
        tiles: Of heads kept out of training (B, C, D + 2h, H, W): every second one tells the extremes, the others
            judge.

    Raises:
        ModelContractError: Both graphs do not decide alike, or there is no exact one; nothing is written.
    """
    exact = find_graph(folder)
    content = round_graph(exact, tiles[::2])
    agreement = _compare(exact, content, tiles[1::2])
    # Written so that a NaN fails too.
    if not agreement >= MIN_AGREEMENT_DICE:
        raise ModelContractError(
            "The network rounded to int8 decides otherwise than the exact one",
            expected=f"a Dice of {MIN_AGREEMENT_DICE} or more between their masks",
            got=f"{agreement:.3f}",
            remedy="serve the exact one, or calibrate on more tiles",
        )
    exact.with_name(INT8_NAME).write_bytes(content)
    stated = {"sha256": hashlib.sha256(content).hexdigest(), "agreement_dice": round(agreement, DIGITS)}
    write_card(folder, {**load_facts(folder / CARD_NAME), "int8": stated})


def round_graph(exact: Path, tiles: Iterable[Tile]) -> bytes:
    """Return an ONNX file with the convolutions of another one rounded to int8.

    Args:
        exact: The other one.
        tiles: What tells the extremes of what goes into its convolutions.
    """
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / INT8_NAME
        quantize_static(
            exact,
            rounded,
            _TileReader(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=ROUNDED_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ROUNDED_OPERATORS},
        )
        graph = onnx.load(rounded)
    round_early(graph)
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


class _TileReader(CalibrationDataReader):  # type: ignore[misc] # published without types
    """Hands tiles to ONNX Runtime, one after the other."""

    def __init__(self, tiles: Iterable[Tile]) -> None:
        self._tiles: Iterator[Tile] = iter(tiles)

    def get_next(self) -> dict[str, Tile] | None:
        tile = next(self._tiles, None)
        return None if tile is None else {INPUT_NAME: tile}


def _compare(exact: Path, content: bytes, tiles: Sequence[Tile]) -> float:
    sessions = [onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]) for graph in (exact, content)]
    decided = [
        np.concatenate([session.run([OUTPUT_NAME], {INPUT_NAME: tile})[0].ravel() > HALF for tile in tiles])
        for session in sessions
    ]
    return overlap(*decided)
