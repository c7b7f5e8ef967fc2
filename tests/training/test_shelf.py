"""Tests of the shelf: what is taken is what was put, and only the newest stays."""

from pathlib import Path

import numpy as np
import pytest

from brainmets.training.backgrounds import Background
from brainmets.training.heads import CHANNELS, T1C
from brainmets.training.lesions import draw_lesion_plan, implant_lesion
from brainmets.training.shelf import StudyShelf, fill_shelf
from brainmets.training.studies import TrainingStudy, normalize_head
from phantom_heads import make_head


def make_study(seed: int) -> TrainingStudy:
    """Return a study of a T1c alone with one lesion."""
    head, rng = make_head(), np.random.default_rng(seed)
    head.present = tuple(channel == T1C for channel in range(CHANNELS))
    head.voxels[T1C] *= rng.uniform(0.5, 1.5, size=head.shape)
    implant_lesion(head, draw_lesion_plan(rng, diameter_mm=10.0), centre=(24, 32, 28), rng=rng)
    return normalize_head(head)


def test_a_study_comes_back_as_it_was(tmp_path: Path) -> None:
    """Voxels, truth, weights and lesions survive the shelf."""
    shelf, study = StudyShelf(tmp_path), make_study(0)
    shelf.put(study, number=1)
    taken = shelf.take(np.random.default_rng(0))
    assert taken.present == study.present
    for ours, theirs in ((study.voxels, taken.voxels), (study.target, taken.target), (study.weight, taken.weight)):
        assert np.array_equal(ours, theirs)
    assert len(taken.lesion_voxels) == len(study.lesion_voxels)
    assert np.array_equal(taken.lesion_voxels[0], study.lesion_voxels[0])


@pytest.mark.parametrize("size", [1, 3])
def test_only_the_newest_studies_stay(tmp_path: Path, size: int) -> None:
    """A shelf is bounded, and throws its oldest away first."""
    shelf, study = StudyShelf(tmp_path, size=size), make_study(0)
    for number in range(1, 6):
        shelf.put(study, number=number)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"study-{number:08d}.npz" for number in range(6 - size, 6)]


def test_a_second_run_draws_other_studies(tmp_path: Path) -> None:
    """Whoever trains on would else learn the first ones by heart."""
    head = make_head()
    complete = (True,) * CHANNELS
    background = (Background("phantom", head.voxels, head.brain, complete, enhanced=True, stripped=True),)
    for _ in range(2):
        next(fill_shelf(StudyShelf(tmp_path), background, seed=1))
    first, second = StudyShelf(tmp_path).all()
    assert first.voxels.shape != second.voxels.shape or not np.array_equal(first.voxels, second.voxels)
