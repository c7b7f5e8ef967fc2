"""Tests of the shipped weights' recipe: both networks from one shelf, and a further cycle from what they became."""

from pathlib import Path

import numpy as np
import pytest

from brainmets.formats.nifti import write_nifti
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Geometry
from brainmets.training import recipe
from brainmets.training.backgrounds import TRAINING_SOURCES
from brainmets.training.checkpoint import load_checkpoint
from brainmets.training.heads import T1C
from brainmets.training.recipe import train_shipped
from brainmets.training.studies import AXIAL_AFFINE
from phantom_heads import make_head


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one small background."""
    source = TRAINING_SOURCES[0]
    folder = tmp_path / "data" / source.folder
    folder.mkdir(parents=True)
    head = make_head()
    uneven = np.random.default_rng(0).uniform(0.8, 1.2, size=head.shape)
    volume = write_nifti((head.voxels[T1C] * uneven).astype(np.float32), Geometry(head.shape, AXIAL_AFFINE))
    for name in source.files.values():
        (folder / name).write_bytes(volume)
    return folder.parent


@pytest.mark.integration
def test_both_networks_are_trained_from_one_shelf(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves a checkpoint of its own; a further cycle has seeds of its own and names what it began with."""
    monkeypatch.setattr(recipe, "FIRST_STUDIES", 2)
    shipped = Path(__file__).parents[2] / "model_repository"
    train_shipped([data], tmp_path / "out", minutes=0.05, start=shipped, seed=300)
    for each in recipe.SHIPPED:
        checkpoint = load_checkpoint(tmp_path / "out" / each.network / "checkpoint.pt")
        assert checkpoint.update > 0
        assert (checkpoint.plan.network, checkpoint.plan.seed) == (each.network, each.seed + 300)
        assert checkpoint.plan.started_from


@pytest.mark.integration
def test_without_backgrounds_it_ends_at_once(tmp_path: Path) -> None:
    """Instead of waiting for studies that nobody draws."""
    with pytest.raises(InternalError, match="not drawn"):
        train_shipped([tmp_path], tmp_path / "out", minutes=1.0)
