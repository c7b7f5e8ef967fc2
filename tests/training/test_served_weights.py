"""Tests of training on from a served graph: it computes the same, in training mode too, and refuses another network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from brainmets.imaging.errors import InvalidArgumentError, ModelContractError
from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME
from brainmets.runtime.network_version import find_graph
from brainmets.training import __main__ as command
from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint, load_network
from brainmets.training.context import SERVED, Context
from brainmets.training.decisions import UNDECIDED
from brainmets.training.export import make_random_tiles, publish_graph
from brainmets.training.loop import Trainer
from brainmets.training.model_card import CARD_NAME
from brainmets.training.networks import NETWORKS
from brainmets.training.networks.blocks import SegmentationNetwork
from brainmets.training.patches import Batch
from brainmets.training.served_network import ServedNetwork
from brainmets.training.served_weights import digest_graph, load_served_weights, restore_normalisation
from brainmets.training.shelf import StudyShelf
from brainmets.training.studies import normalize_head
from brainmets.training.world import World
from local.layout import MODEL_REPOSITORY
from phantom_heads import make_head

# Rounding of float32, on probabilities and on log-odds of some ten.
PROBABILITY_TOLERANCE, LOGIT_TOLERANCE = 1e-3, 5e-3


def make_batches() -> list[Batch]:
    """Return three batches of noise, always the same."""
    noise = torch.Generator().manual_seed(7)
    nothing = torch.zeros(1)
    return [Batch(torch.randn(2, SERVED.input_channels, 32, 32, generator=noise), nothing, nothing) for _ in range(3)]


def plan_of(folder: Path) -> TrainingPlan:
    """Return a plan for the network of a folder."""
    return TrainingPlan(folder.name, updates=1, minutes=1.0)


def start_from(folder: Path) -> SegmentationNetwork:
    """Return a fresh network with the served one's parameters."""
    network = plan_of(folder).build_network()
    load_served_weights(network, folder)
    return network


@pytest.fixture(params=sorted(NETWORKS))
def folder(request: pytest.FixtureRequest) -> Path:
    """Return the folder of a network that is shipped."""
    return MODEL_REPOSITORY / request.param


def test_what_is_served_is_what_is_trained_on(folder: Path) -> None:
    """As if the checkpoint had been kept."""
    temperature = json.loads((folder / CARD_NAME).read_text())["temperature"]
    served = onnxruntime.InferenceSession(find_graph(folder), providers=["CPUExecutionProvider"])
    started = ServedNetwork(start_from(folder), context=SERVED, temperature=temperature)
    tile = make_random_tiles()[0]
    with torch.inference_mode():
        got = started(torch.from_numpy(tile)).numpy()
    (expected,) = served.run([OUTPUT_NAME], {INPUT_NAME: tile})
    np.testing.assert_allclose(got, expected, atol=PROBABILITY_TOLERANCE)


def test_normalisation_is_restored_for_training(folder: Path) -> None:
    """In training mode, where each batch has its own mean and spread, a large batch decides as evaluation does."""
    batches = make_batches()
    together = torch.cat([batch.slices for batch in batches])
    started = start_from(folder)
    with torch.inference_mode():
        expected = started.eval()(together)
        unrestored = start_from(folder).train()(together)
    restore_normalisation(started, batches, World())
    with torch.inference_mode():
        evaluated, trained_on = started.eval()(together), started.train()(together)
    assert not torch.allclose(unrestored, expected, atol=0.5)
    assert torch.allclose(evaluated, expected, atol=LOGIT_TOLERANCE)
    assert torch.allclose(trained_on, expected, atol=LOGIT_TOLERANCE)


def test_a_training_that_is_begun_again_does_not_start_anew(tmp_path: Path) -> None:
    """A checkpoint weighs more than the graph that it came from."""
    folder = MODEL_REPOSITORY / "attention_unet"
    plan = replace(plan_of(folder), updates=0)
    Trainer(plan, folder=tmp_path, world=World(), start=folder)._save("checkpoint.pt")  # noqa: SLF001 -- as a kill leaves it
    changed = Trainer(plan, folder=tmp_path, world=World(), start=MODEL_REPOSITORY / "nested_unet")
    served = start_from(folder).state_dict()
    assert all(torch.equal(parameter, served[name]) for name, parameter in changed.network.state_dict().items())


def test_the_command_trains_on_from_what_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update that moves nothing the network decides as the graph does: its normalisation was restored."""
    folder = MODEL_REPOSITORY / "attention_unet"
    shelf = StudyShelf(tmp_path / "shelf")
    shelf.folder.mkdir()
    head = make_head()
    head.voxels *= np.random.default_rng(0).uniform(0.8, 1.2, size=head.shape)
    shelf.put(normalize_head(head), number=1)
    words = ("train", "--network", folder.name, "--shelf", shelf.folder, "--start", folder, "--out", tmp_path / "out")
    rest = ("--updates", 1, "--batch-size", 2, "--learning-rate", 0, "--weight-decay", 0)
    monkeypatch.setattr("sys.argv", ["training", *map(str, (*words, *rest))])
    assert command.main() == 0
    checkpoint = load_checkpoint(tmp_path / "out" / "checkpoint.pt")
    assert checkpoint.plan.started_from == digest_graph(folder)
    slices = make_batches()[0].slices
    with torch.inference_mode():
        served, trained_on = start_from(folder).eval()(slices), load_network(checkpoint)(slices)
    assert (served - trained_on).abs().mean() < 0.02 * served.abs().mean()


def test_another_network_is_refused(folder: Path) -> None:
    """Other widths, another context, and the other network of the two."""
    other = next(name for name in NETWORKS if name != folder.name)
    plans = (
        replace(plan_of(folder), widths=(8, 16, 16, 16, 16)),
        replace(plan_of(folder), context=Context((0,))),
        replace(plan_of(folder), network=other),
    )
    for plan in plans:
        with pytest.raises(InvalidArgumentError, match="of another network"):
            load_served_weights(plan.build_network(), folder)


def test_a_card_names_the_graph_that_training_started_from(tmp_path: Path) -> None:
    """Whoever reads it can find out what a network was before."""
    folder = MODEL_REPOSITORY / "attention_unet"
    state = start_from(folder).state_dict()
    plan = replace(plan_of(folder), started_from=digest_graph(folder))
    decided = replace(UNDECIDED, temperature=json.loads((folder / CARD_NAME).read_text())["temperature"])
    published = publish_graph(
        find_graph(folder).read_bytes(),
        Checkpoint(plan, update=1, elapsed_s=1.0, parameters=state, averaged=state, optimizer={}),
        tmp_path,
        decision=decided,
        real_tiles=(),
        facts={"statement": "of a test"},
    )
    card = json.loads((published / CARD_NAME).read_text())
    assert card["started_from_onnx_sha256"] == card["onnx_sha256"]


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    """The message says what folder is meant."""
    with pytest.raises(ModelContractError, match="a folder that `export` wrote"):
        load_served_weights(TrainingPlan("nested_unet", updates=1, minutes=1.0).build_network(), tmp_path)
