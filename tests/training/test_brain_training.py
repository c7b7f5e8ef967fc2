"""Tests of the brain network's training: examples carry their truth along, and what is shipped is what was learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmets.imaging.brain_network import MOST
from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.brain_weights import CARD_NAME, ONNX_NAME
from brainmets.training.brain_examples import BrainExample, draw_example
from brainmets.training.brain_heads import (
    BrainHead,
    Kind,
    close_gaps,
    draw_phantom,
    grow,
    refine_outline,
    transplant_brain,
)
from brainmets.training.brain_training import (
    BrainTrainingPlan,
    BrainUnet,
    TrainedBrainNetwork,
    train_brain_network,
    write_brain_network,
)

PLAN = BrainTrainingPlan(updates=3, minutes=1.0, seed=1)
SHAPE = (48, 56, 52)


def ball_head(radius: float, *, kind: Kind = Kind.REAL) -> BrainHead:
    """Return a ball of brain (1), in bone (0.1) of three voxels and scalp (2) of three, or in air when stripped."""
    centre = (np.array(SHAPE) - 1) / 2
    distance = np.sqrt(((np.indices(SHAPE).T - centre) ** 2).sum(axis=-1)).T
    shells = np.select([distance < radius + 3, distance < radius + 6], [0.1, 2.0], default=0.0)
    outside = 0.0 if kind is Kind.STRIPPED else shells
    inside = distance < radius
    voxels = np.where(inside, 1.0, outside).astype(np.float32)
    return BrainHead(kind, voxels, inside.astype(np.float32), is_stripped=kind is Kind.STRIPPED)


@pytest.mark.parametrize("seed", range(6))
def test_an_example_shows_a_head_and_its_brain(seed: int) -> None:
    """Both on one grid, intensities in the network's units, and some but not all of it brain."""
    example = draw_example([ball_head(16.0)], np.random.default_rng(seed))
    assert example.voxels.shape == example.brain.shape
    assert 0.0 <= example.voxels.min() <= example.voxels.max() <= MOST
    assert 0.02 < example.brain.mean() < 0.98


def test_the_same_seed_draws_the_same_example() -> None:
    """Training can be replayed."""
    one, other = (draw_example([ball_head(16.0)], np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.voxels, other.voxels)
    np.testing.assert_array_equal(one.brain, other.brain)


def test_narrow_gaps_of_a_brain_are_closed() -> None:
    """A fissure of three voxels, 6 mm, belongs to the brain, and one of eight does not."""
    brain = ball_head(20.0).brain > 0.5
    fissured, split = brain.copy(), brain.copy()
    fissured[:, :, 25:28] = False
    split[:, :, 22:30] = False
    assert close_gaps(fissured)[24, 28, 26]
    assert not close_gaps(split)[24, 28, 26]


@pytest.mark.parametrize("error", [-3.0, 3.0])
def test_a_registered_outline_is_mended_to_where_the_tissue_ends(error: float) -> None:
    """Six millimetres too small or too large, it becomes the brain within a voxel."""
    truth = ball_head(16.0)
    wrong = BrainHead(Kind.REAL, truth.voxels, ball_head(16.0 + error).brain)
    mended, brain = refine_outline(wrong).brain > 0.5, truth.brain > 0.5
    assert not (mended & ~grow(brain, 2.1)).any()
    assert not (brain & ~grow(mended, 2.1)).any()


def test_a_transplanted_brain_fills_the_old_ones_place() -> None:
    """Its outline is scaled to the skull, its tissue comes along, and the scalp stays."""
    into = ball_head(16.0)
    other = ball_head(10.0, kind=Kind.STRIPPED)
    other.voxels[other.brain > 0] = 1.7
    made = transplant_brain(other, into=into)
    overlap = 2 * np.count_nonzero(made.brain * into.brain) / (made.brain.sum() + into.brain.sum())
    assert overlap > 0.95
    assert made.voxels[24, 28, 26] == pytest.approx(1.7)
    scalp = into.voxels == 2.0
    np.testing.assert_array_equal(made.voxels[scalp], into.voxels[scalp])


def test_test_objects_come_with_a_shell_and_without() -> None:
    """So that neither a phantom nor a bare one is taken for something else."""
    phantoms = [draw_phantom(np.random.default_rng(seed)) for seed in range(12)]
    assert {phantom.is_stripped for phantom in phantoms} == {False, True}
    for phantom in phantoms:
        assert bool(((phantom.voxels > 0) & (phantom.brain == 0)).any()) is not phantom.is_stripped


@pytest.mark.filterwarnings("ignore")  # the exporter warns of torch's own deprecated calls
def test_what_is_shipped_is_what_was_learned(tmp_path: Path) -> None:
    """Three updates move the network; OpenCV computes what torch does, and the card says how it came about."""
    torch.manual_seed(PLAN.seed)
    start = {name: value.clone() for name, value in BrainUnet().state_dict().items()}
    trained = train_brain_network([ball_head(14.0)], PLAN)
    assert any(not torch.equal(value, start[name]) for name, value in trained.network.state_dict().items())
    example = draw_example([ball_head(14.0)], np.random.default_rng(0))
    write_brain_network(trained, PLAN, tmp_path, examples=[example], without=["colin27"])
    card = json.loads((tmp_path / CARD_NAME).read_text())
    assert (card["updates"], card["seed"]) == (3, 1)
    assert "colin27" not in card["trained_on"]
    assert (tmp_path / ONNX_NAME).stat().st_size <= 300 * 1024


@pytest.mark.filterwarnings("ignore")  # the exporter warns of torch's own deprecated calls
def test_a_network_of_nonsense_is_not_shipped(tmp_path: Path) -> None:
    """A difference that is no number stops the export."""
    network = BrainUnet().eval()
    torch.nn.init.constant_(network.head.weight, float("nan"))
    example = BrainExample(np.ones((8, 8, 8), dtype=np.float32), np.ones((8, 8, 8), dtype=np.float32))
    with pytest.raises(ModelContractError):
        write_brain_network(TrainedBrainNetwork(network, 1, 1.0), PLAN, tmp_path, examples=[example], without=[])
    assert not list(tmp_path.iterdir())
