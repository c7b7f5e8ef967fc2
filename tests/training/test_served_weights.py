"""Tests of training on from a served graph: it computes the same, in training mode too, and refuses another network."""

import warnings
from pathlib import Path

import pytest
import torch

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.checkpoint import Checkpoint, TrainingPlan
from brainmets.training.context import Context
from brainmets.training.decisions import UNDECIDED
from brainmets.training.export import export_checkpoint
from brainmets.training.networks import NETWORKS
from brainmets.training.networks.blocks import SegmentationNetwork
from brainmets.training.patches import Batch
from brainmets.training.served_weights import load_served_weights, restore_normalisation
from brainmets.training.world import World

# Rounding of float32, on log-odds of a few units.
TOLERANCE = 1e-3
PATCHES = 4


def make_batches() -> list[Batch]:
    """Return three batches of noise, always the same."""
    noise = torch.Generator().manual_seed(7)
    nothing = torch.zeros(1)
    return [Batch(torch.randn(PATCHES, 28, 48, 32, generator=noise), nothing, nothing) for _ in range(3)]


def trained(name: str) -> tuple[TrainingPlan, SegmentationNetwork]:
    """Return a network whose normalisation has seen something and is no identity."""
    torch.manual_seed(3)
    plan = TrainingPlan(name, updates=1, minutes=1.0, widths=(8, 16, 16, 16, 16))
    network = plan.build_network().train()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
        for batch in make_batches():
            network(batch.slices)
    return plan, network.eval()


def export(plan: TrainingPlan, network: SegmentationNetwork, repository: Path) -> Path:
    """Write the network into a model repository and return its folder."""
    state = network.state_dict()
    checkpoint = Checkpoint(plan, update=1, elapsed_s=1.0, parameters=state, averaged=state, optimizer={})
    with warnings.catch_warnings():
        # The exporter's own: it deprecates parts of torch that it goes on using.
        warnings.simplefilter("ignore")
        return export_checkpoint(checkpoint, repository, decision=UNDECIDED, real_tiles=(), facts={"statement": "-"})


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SegmentationNetwork, Path]:
    """A network, and the folder that it was exported to."""
    plan, network = trained(request.param)
    return network, export(plan, network, tmp_path_factory.mktemp("repository"))


def start_from(folder: Path) -> SegmentationNetwork:
    """Return a fresh network with the served one's parameters."""
    torch.manual_seed(4)
    network = TrainingPlan(folder.name, updates=1, minutes=1.0, widths=(8, 16, 16, 16, 16)).build_network()
    load_served_weights(network, folder)
    return network


def test_what_was_exported_is_what_is_trained_on(served: tuple[SegmentationNetwork, Path]) -> None:
    """The decided logits are the same, as if the checkpoint had been kept."""
    network, folder = served
    batch = make_batches()[0]
    with torch.inference_mode():
        expected = network(batch.slices)
        got = start_from(folder).eval()(batch.slices)
    assert torch.allclose(got, expected, atol=TOLERANCE)


def test_normalisation_is_restored_for_training(served: tuple[SegmentationNetwork, Path]) -> None:
    """In training mode, where each batch has its own mean and spread, a large batch decides as evaluation does."""
    network, folder = served
    batches = make_batches()
    started = start_from(folder)
    together = torch.cat([batch.slices for batch in batches])
    with torch.inference_mode():
        expected = network(together)
        unrestored = start_from(folder).train()(together)
    restore_normalisation(started, batches, World())
    with torch.inference_mode():
        evaluated, trained_on = started.eval()(together), started.train()(together)
    assert not torch.allclose(unrestored, expected, atol=0.1)
    assert torch.allclose(evaluated, expected, atol=TOLERANCE)
    assert torch.allclose(trained_on, expected, atol=10 * TOLERANCE)


def test_another_network_is_refused(served: tuple[SegmentationNetwork, Path]) -> None:
    """Other widths, another context, and the other network of the two."""
    _, folder = served
    other = next(name for name in NETWORKS if name != folder.name)
    plans = (
        TrainingPlan(folder.name, updates=1, minutes=1.0),
        TrainingPlan(folder.name, updates=1, minutes=1.0, widths=(8, 16, 16, 16, 16), context=Context((0,))),
        TrainingPlan(other, updates=1, minutes=1.0, widths=(8, 16, 16, 16, 16)),
    )
    for plan in plans:
        with pytest.raises(InvalidArgumentError, match="of another network"):
            load_served_weights(plan.build_network(), folder)


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    """The message says what folder is meant."""
    with pytest.raises(InvalidArgumentError, match="no network to start from"):
        load_served_weights(TrainingPlan("nested_unet", updates=1, minutes=1.0).build_network(), tmp_path)
