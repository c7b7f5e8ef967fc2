"""Tests of rounding to int8: the graph decides as the exact one does, or it is not written."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.tile_contract import INPUT_NAME
from brainmets.runtime.network_version import find_graph
from brainmets.training import __main__ as command
from brainmets.training.quantization import MIN_AGREEMENT_DICE, quantize_network
from local.engine import sample_tile
from phantom_heads import save_labelled_phantom

SHIPPED = Path(__file__).parents[2] / "model_repository" / "attention_unet"
VERSION = "2880154539"
ROUNDED = Path(VERSION) / "model.int8.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a shipped network's folder as it is before it is rounded."""
    copied = tmp_path / SHIPPED.name
    shutil.copytree(SHIPPED, copied)
    # As an export names it.
    find_graph(copied).parent.rename(copied / VERSION)
    (copied / ROUNDED).unlink()
    return copied


def test_the_rounded_graph_is_known_by_its_digest(folder: Path) -> None:
    """The card says how well it agrees, and Triton's configurations what it must be."""
    tile = sample_tile(channels=4, depth=14, size=64)
    quantize_network(folder, [tile, tile[..., ::-1].copy()])
    stated = json.loads((folder / "model_card.json").read_text())["int8"]
    assert stated["sha256"] == hashlib.sha256((folder / ROUNDED).read_bytes()).hexdigest()
    nodes = onnx.load(folder / ROUNDED).graph.node
    # Before its slices are stacked, not after.
    assert INPUT_NAME in {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert MIN_AGREEMENT_DICE <= stated["agreement_dice"] <= 1.0
    for config in ("config.pbtxt", "configs/embedded.pbtxt", "configs/gpu.pbtxt"):
        assert stated["sha256"] in (folder / config).read_text()


def test_a_graph_that_decides_otherwise_is_not_written(folder: Path) -> None:
    """Calibrated on nothing but air, it knows no intensity of a head."""
    tile = sample_tile(channels=4, depth=14, size=64)
    with pytest.raises(ModelContractError, match="decides otherwise"):
        quantize_network(folder, [np.full_like(tile, 1e-3), tile])
    assert not (folder / ROUNDED).exists()


def test_the_command_rounds_on_drawn_lesions(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the healthy half of the head that it is given, and says how well the graphs agree."""
    words = ("quantize", "--model", folder, "--study", save_labelled_phantom(tmp_path), "--synthetic", 2)
    monkeypatch.setattr("sys.argv", ["training", *map(str, words)])
    assert command.main() == 0
    assert (folder / ROUNDED).is_file()
    assert "attention_unet: agreement" in capsys.readouterr().out
