"""Tests of the shipped model repository: what is committed is what the export wrote."""

import hashlib
import json
from pathlib import Path

import onnx
import pytest

from brainmets.runtime.network_version import find_graph
from brainmets.training.model_card import contract_from_card
from brainmets.training.networks import NETWORKS
from brainmets.training.onnx_graph import MAX_IR_VERSION, OPSET
from brainmets.training.served_contract import render_cpu_config, render_embedded_config, render_gpu_config

REPOSITORY = Path(__file__).parents[2] / "model_repository"
# What a clone is ready to carry for each network.
MOST_BYTES = 12 * 2**20


@pytest.fixture(params=sorted(NETWORKS))
def folder(request: pytest.FixtureRequest) -> Path:
    """Return a shipped network's folder."""
    return REPOSITORY / str(request.param)


def test_the_card_names_the_graph_that_lies_beside_it(folder: Path) -> None:
    """The digests in the model card, which the configuration repeats, are those of the ONNX file and its int8 graph."""
    card = json.loads((folder / "model_card.json").read_text())
    for name, stated in (("model.onnx", card["onnx_sha256"]), ("model.int8.onnx", card["int8"]["sha256"])):
        assert hashlib.sha256(find_graph(folder).with_name(name).read_bytes()).hexdigest() == stated


def test_configurations_are_as_they_were_generated(folder: Path) -> None:
    """Nobody edited by hand what the export writes from the contract."""
    card = json.loads((folder / "model_card.json").read_text())
    contract = contract_from_card(card)
    assert (folder / "config.pbtxt").read_text() == render_cpu_config(contract)
    assert (folder / "configs" / "embedded.pbtxt").read_text() == render_embedded_config(contract)
    assert (folder / "configs" / "gpu.pbtxt").read_text() == render_gpu_config(contract)


def test_the_graphs_are_small_and_readable_in_production(folder: Path) -> None:
    """Opset, IR version and size stay within what production reads and a clone carries."""
    graphs = sorted(find_graph(folder).parent.glob("*.onnx"))
    assert len(graphs) == 2
    for path in graphs:
        model = onnx.load(path)
        assert model.ir_version <= MAX_IR_VERSION
        assert [each.version for each in model.opset_import if not each.domain] == [OPSET]
    assert sum(path.stat().st_size for path in graphs) <= MOST_BYTES


def test_the_card_says_what_a_reader_must_know(folder: Path) -> None:
    """Research use, the data with their licences, measured figures and what was never seen are all there."""
    card = json.loads((folder / "model_card.json").read_text())
    assert card["research_use_only"] is True
    assert all(each["licence"] for each in card["data"])
    for part in ("metrics", "known_failures", "never_seen_in_training", "seed", "updates"):
        assert card[part]
