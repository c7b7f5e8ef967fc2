"""Tests of the training loop: it can be replayed, and it goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint
from brainmets.training.heads import T1C
from brainmets.training.lesions import draw_lesion_plan, implant_lesion
from brainmets.training.loop import Trainer
from brainmets.training.studies import TrainingStudy, normalize_head
from phantom_heads import make_head


def make_study(rng: np.random.Generator) -> TrainingStudy:
    """Return the phantom's head with one lesion."""
    head = make_head()
    head.voxels[T1C] *= rng.uniform(0.8, 1.2, size=head.shape)
    implant_lesion(head, draw_lesion_plan(rng, diameter_mm=12.0), centre=(24, 32, 28), rng=rng)
    return normalize_head(head)


def train(folder: Path, *, updates: int) -> Checkpoint:
    """Train so many updates in a folder and return what they leave."""
    plan = TrainingPlan("attention_unet", updates, minutes=10.0, batch_size=2)
    Trainer(plan, folder=folder).train(make_study)
    return load_checkpoint(folder / "checkpoint.pt")


@pytest.fixture(scope="module")
def two_updates(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a training of two updates."""
    return train(tmp_path_factory.mktemp("two"), updates=2)


def test_the_same_seed_trains_the_same_network(two_updates: Checkpoint, tmp_path: Path) -> None:
    """Two trainings of one plan leave the same parameters."""
    again = train(tmp_path, updates=2)
    assert all(torch.equal(again.parameters[name], each) for name, each in two_updates.parameters.items())


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    """A training that finds a checkpoint starts there, with its average and its time."""
    first = train(tmp_path, updates=1)
    second = train(tmp_path, updates=3)
    assert (first.update, second.update) == (1, 3)
    assert second.elapsed_s > first.elapsed_s


def test_training_changes_the_network_and_its_average(two_updates: Checkpoint) -> None:
    """The average follows the parameters and is not the same."""
    averaged, parameters = two_updates.averaged, two_updates.parameters
    assert averaged.keys() == parameters.keys()
    assert any(not torch.equal(averaged[name], each) for name, each in parameters.items())
