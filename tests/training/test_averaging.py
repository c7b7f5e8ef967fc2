"""Tests of averaging: every parameter is the mean, and only exports of one network have one."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.network_version import find_graph
from brainmets.training import __main__ as command
from brainmets.training.averaging import average_networks

SHIPPED = Path(__file__).parents[2] / "model_repository"


def copy_network(tmp_path: Path, name: str = "attention_unet") -> Path:
    """Return a copy of a shipped network's folder."""
    return Path(shutil.copytree(SHIPPED / name, tmp_path / name))


def read_parameters(folder: Path) -> dict[str, np.ndarray]:
    """Return a graph's floating-point parameters."""
    weights = onnx.load(find_graph(folder)).graph.initializer
    arrays = {weight.name: numpy_helper.to_array(weight) for weight in weights}
    return {name: array for name, array in arrays.items() if array.dtype == np.float32}


def test_every_parameter_is_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network and one three times as large it is twice the former; what was measured of it is gone."""
    one, other = copy_network(tmp_path / "one"), copy_network(tmp_path / "other")
    model = onnx.load(find_graph(other))
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(values * np.float32(3.0), weight.name))
    onnx.save(model, find_graph(other))
    before = read_parameters(one)
    monkeypatch.setattr("sys.argv", ["training", "average", "--model", str(one), "--other", str(other)])
    assert command.main() == 0
    after = read_parameters(one)
    assert after.keys() == before.keys()
    for name, values in after.items():
        np.testing.assert_allclose(values, 2.0 * before[name], rtol=1e-3)
    assert not {"int8", "metrics"} & json.loads((one / "model_card.json").read_text()).keys()
    assert not list(one.rglob("model.int8.onnx"))


def test_other_networks_have_no_mean(tmp_path: Path) -> None:
    """Nothing is written."""
    one, other = copy_network(tmp_path), copy_network(tmp_path, "nested_unet")
    before = find_graph(one).read_bytes()
    with pytest.raises(ModelContractError, match="cannot be averaged"):
        average_networks(one, other)
    assert find_graph(one).read_bytes() == before
