"""Tests of recalibration: the same network at another temperature, and nothing left that was true of the old one."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.runtime.network_version import find_graph, name_version
from brainmets.training import __main__ as command
from brainmets.training.decisions import Decision, save_decision
from brainmets.training.recalibration import recalibrate_network
from local.engine import Array, sample_tile

SHIPPED = Path(__file__).parents[2] / "model_repository" / "attention_unet"
DECISION = Decision(2.0, {name: OperatingPoint(0.25, 10.0, 0.75) for name in OperatingPointName})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of a shipped network's folder."""
    copied = tmp_path / SHIPPED.name
    shutil.copytree(SHIPPED, copied)
    return copied


def find_logits(folder: Path) -> Array:
    """Return the log-odds of a network for a bright ball."""
    session = onnxruntime.InferenceSession(find_graph(folder), providers=["CPUExecutionProvider"])
    (probability,) = session.run(None, {"tile": sample_tile(channels=4, depth=14, size=64)})
    inside = np.clip(probability.astype(np.float64), 1e-7, 1.0 - 1e-7)
    return np.log(inside) - np.log1p(-inside)


def test_log_odds_are_divided_once_more(folder: Path) -> None:
    """By the decision's temperature, which comes on top of the network's own."""
    before = find_logits(folder)
    recalibrate_network(folder, DECISION)
    tell = np.abs(before) < 10.0
    assert tell.any()
    np.testing.assert_allclose(find_logits(folder)[tell], before[tell] / 2.0, atol=0.02)


def test_the_card_tells_of_the_new_network(folder: Path) -> None:
    """Its digest, temperature and points; figures and the int8 graph of the old one are gone, the data stay."""
    old = json.loads((folder / "model_card.json").read_text())
    recalibrate_network(folder, DECISION)
    card = json.loads((folder / "model_card.json").read_text())
    assert card["onnx_sha256"] == hashlib.sha256(find_graph(folder).read_bytes()).hexdigest()
    assert card["temperature"] == pytest.approx(2 * old["temperature"], abs=1e-3)
    assert card["operating_points"]["balanced"]["threshold"] == 0.25
    assert not {"int8", "metrics"} & set(card)
    assert find_graph(folder).parent.name == name_version(card["onnx_sha256"])
    assert [path.name for path in find_graph(folder).parent.iterdir()] == ["model.onnx"]
    assert card["data"] == old["data"]


def test_a_graph_without_a_temperature_is_left_alone(folder: Path) -> None:
    """Whatever else it computes, nothing of it is written."""
    path = find_graph(folder)
    model = onnx.load(path)
    model.graph.node[-1].op_type = "Tanh"
    onnx.save(model, path)
    content = path.read_bytes()
    with pytest.raises(ModelContractError, match="no temperature"):
        recalibrate_network(folder, DECISION)
    assert path.read_bytes() == content


def test_the_command_takes_what_choose_points_wrote(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file a network."""
    save_decision(DECISION, tmp_path / "decision.json", found={})
    words = ("recalibrate", "--model", folder, "--decision", tmp_path / "decision.json")
    monkeypatch.setattr("sys.argv", ["training", *map(str, words)])
    assert command.main() == 0
    card = json.loads((folder / "model_card.json").read_text())
    assert card["operating_points"]["specific"]["min_peak_probability"] == 0.75
