"""Tests of a study's score: declared values at every edge of every metric."""

import numpy as np
import pytest

from brainmets.evaluation.study_score import score_study
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.surface_distance import ABSENT_SURFACE_MM
from evaluation_cases import GRID, make_mask


def test_both_empty_agree() -> None:
    """A study without lesions in which none was found is perfect in every metric."""
    score = score_study("a", make_mask(), make_mask(), with_skull=False)
    assert (score.dice, score.slice_dice, score.hd95_mm) == (1.0, 1.0, 0.0)
    assert (score.lesionwise.dice, score.lesionwise.hd95_mm) == (1.0, 0.0)


@pytest.mark.parametrize("empty_side", ["reference", "prediction"])
def test_one_empty_side_is_the_worst_of_every_metric(empty_side: str) -> None:
    """All missed, or something where nothing is, scores Dice 0 and the distance that stands for none."""
    masks = {"reference": make_mask((5, 5, 5)), "prediction": make_mask((5, 5, 5)), empty_side: make_mask()}
    score = score_study("a", masks["reference"], masks["prediction"], with_skull=False)
    assert (score.dice, score.slice_dice, score.hd95_mm) == (0.0, 0.0, ABSENT_SURFACE_MM)
    assert (score.lesionwise.dice, score.lesionwise.hd95_mm) == (0.0, ABSENT_SURFACE_MM)


def test_one_voxel_is_not_asked_for_but_overlaps() -> None:
    """A single voxel is below what the lesion-wise metric asks for; Dice counts it."""
    voxels = np.zeros(GRID.shape, dtype=np.bool_)
    voxels[5, 5, 5] = True
    one = LesionMask(voxels, GRID)
    score = score_study("a", one, one, with_skull=False)
    assert (score.dice, score.hd95_mm) == (1.0, 0.0)
    assert not score.lesionwise.lesions
    assert score.lesionwise.ignored == 1


def test_touching_lesions_are_one() -> None:
    """Two cubes that touch are one lesion of 128 mm³, found by a prediction of either."""
    score = score_study("a", make_mask((5, 5, 5), (5, 5, 9)), make_mask((5, 5, 5)), with_skull=True)
    assert [lesion.volume_mm3 for lesion in score.lesionwise.lesions] == [128.0]
    assert score.lesions_found == 1
    assert score.dice == pytest.approx(2 * 64 / (128 + 64))


def test_volumes_are_in_cubic_millimetres() -> None:
    """Two cubes against one."""
    score = score_study("a", make_mask((5, 5, 5), (15, 15, 15)), make_mask((5, 5, 5)), with_skull=False)
    assert (score.reference_mm3, score.predicted_mm3) == (128.0, 64.0)
