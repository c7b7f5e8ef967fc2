"""The BraTS-METS metric gives what is counted by hand."""

import math

import numpy as np
import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.mets_metric import count_found_by_size, score_lesions
from imaging_cases import box_at, make_geometry, make_mask

SHAPE = (20, 20, 40)
EMPTY = make_mask(SHAPE)
CUBE = box_at((2, 2, 2), (3, 3, 3))  # 27 mm³
FAR_CUBE = box_at((2, 2, 20), (3, 3, 3))
VOXEL = box_at((10, 10, 10), (1, 1, 1))
PAIR = box_at((10, 10, 10), (1, 1, 2))


def test_a_perfect_prediction() -> None:
    """Every lesion found exactly: Dice 1, HD95 0."""
    score = score_lesions(make_mask(SHAPE, CUBE, FAR_CUBE), make_mask(SHAPE, CUBE, FAR_CUBE))
    assert (score.dice, score.hd95_mm, len(score.lesions), score.false_positives) == (1.0, 0.0, 2, 0)


def test_nothing_predicted_where_nothing_is() -> None:
    """Both empty: Dice 1, HD95 0."""
    score = score_lesions(EMPTY, EMPTY)
    assert (score.dice, score.hd95_mm) == (1.0, 0.0)


def test_an_empty_prediction() -> None:
    """A missed lesion scores Dice 0 and HD95 374 mm."""
    score = score_lesions(make_mask(SHAPE, CUBE), EMPTY)
    assert (score.dice, score.hd95_mm, score.lesions[0].found) == (0.0, 374.0, False)


def test_an_empty_reference() -> None:
    """A false positive where nothing is scores Dice 0 and HD95 374 mm."""
    score = score_lesions(EMPTY, make_mask(SHAPE, CUBE))
    assert (score.dice, score.hd95_mm, score.false_positives) == (0.0, 374.0, 1)


def test_a_miss_and_a_false_positive_share_the_mean() -> None:
    """One found exactly, one missed, one invented: Dice 1/3, HD95 (0 + 374 + 374) / 3."""
    invented = box_at((14, 14, 35), (2, 2, 2))
    score = score_lesions(make_mask(SHAPE, CUBE, FAR_CUBE), make_mask(SHAPE, CUBE, invented))
    assert score.dice == pytest.approx(1 / 3)
    assert score.hd95_mm == pytest.approx(748 / 3)
    assert score.false_positives_mm3 == (8.0,)


def test_every_lesion_counts_the_same() -> None:
    """A small lesion found to 2/3 and a large one found exactly average to 5/6."""
    large = box_at((2, 2, 20), (9, 9, 9))
    # 27 and 54 voxels, of which they share 27: Dice 2 x 27 / 81.
    doubled = box_at((2, 2, 2), (3, 3, 6))
    score = score_lesions(make_mask(SHAPE, CUBE, large), make_mask(SHAPE, doubled, large))
    assert score.dice == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("gap", [1, 2])
def test_references_whose_dilations_join_are_one(gap: int) -> None:
    """Two references up to two voxels apart grow together."""
    beside = box_at((2, 2, 5 + gap), (3, 3, 3))
    score = score_lesions(make_mask(SHAPE, CUBE, beside), make_mask(SHAPE, CUBE))
    assert len(score.lesions) == 1
    # One lesion of 54 voxels, of which 27 were found: Dice 2 x 27 / 81.
    assert score.dice == pytest.approx(2 / 3)


def test_references_whose_dilations_stay_apart_are_two() -> None:
    """Three voxels apart, a free one is left between the dilations."""
    score = score_lesions(make_mask(SHAPE, CUBE, box_at((2, 2, 8), (3, 3, 3))), make_mask(SHAPE, CUBE))
    assert (len(score.lesions), score.dice) == (2, 0.5)


def test_the_prediction_of_a_lesion_is_the_union_of_what_touches_it() -> None:
    """Two fragments of one lesion count together, and neither is a false positive."""
    reference = make_mask(SHAPE, box_at((2, 2, 2), (3, 3, 6)))
    fragments = make_mask(SHAPE, box_at((2, 2, 2), (3, 3, 2)), box_at((2, 2, 6), (3, 3, 2)))
    score = score_lesions(reference, fragments)
    # 54 and 36 voxels, sharing 36: Dice 2 x 36 / 90.
    assert score.dice == pytest.approx(0.8)
    assert score.false_positives == 0


def test_a_prediction_over_two_references_counts_for_both() -> None:
    """A component that bridges two lesions is compared with each."""
    bridge = box_at((2, 2, 2), (3, 3, 9))
    score = score_lesions(make_mask(SHAPE, CUBE, box_at((2, 2, 8), (3, 3, 3))), make_mask(SHAPE, bridge))
    # 27 and 81 voxels, sharing 27, twice: Dice 2 x 27 / 108.
    assert [lesion.dice for lesion in score.lesions] == pytest.approx([0.5, 0.5])


def test_a_prediction_beside_a_lesion_touches_it() -> None:
    """What only meets the dilation scores Dice 0 and its own distance, and is no false positive."""
    beside = make_mask(SHAPE, box_at((2, 2, 5), (3, 3, 1)))
    score = score_lesions(make_mask(SHAPE, CUBE), beside)
    assert (score.lesions[0].found, score.dice, score.false_positives) == (True, 0.0, 0)
    assert score.hd95_mm == pytest.approx(3.0)


def test_a_dilation_has_no_corners() -> None:
    """A predicted voxel that shares only a corner with the lesion does not touch it (18 neighbours)."""
    corner, edge = box_at((5, 5, 5), (1, 1, 1)), box_at((4, 5, 5), (1, 1, 1))
    assert score_lesions(make_mask(SHAPE, CUBE), make_mask(SHAPE, corner)).false_positives == 1
    assert score_lesions(make_mask(SHAPE, CUBE), make_mask(SHAPE, edge)).false_positives == 0


@pytest.mark.parametrize("tiny", [VOXEL, PAIR], ids=["1 mm³", "2 mm³"])
def test_references_of_two_cubic_millimetres_are_not_asked_for(tiny: tuple[slice, slice, slice]) -> None:
    """Missing one costs nothing, and is the same as nothing there."""
    score = score_lesions(make_mask(SHAPE, tiny), EMPTY)
    assert (score.dice, score.hd95_mm, score.lesions, score.ignored) == (1.0, 0.0, (), 1)


def test_references_above_two_cubic_millimetres_are_asked_for() -> None:
    """Three voxels count."""
    assert score_lesions(make_mask(SHAPE, box_at((10, 10, 10), (1, 1, 3))), EMPTY).dice == 0.0


def test_a_prediction_on_an_ignored_reference_is_no_false_positive() -> None:
    """Finding what is not asked for costs nothing."""
    score = score_lesions(make_mask(SHAPE, CUBE, VOXEL), make_mask(SHAPE, CUBE, VOXEL))
    assert (score.dice, score.ignored, score.false_positives) == (1.0, 1, 0)


def test_two_tiny_references_that_join_are_asked_for() -> None:
    """Volume is that of the joined lesion, without its dilation."""
    score = score_lesions(make_mask(SHAPE, PAIR, box_at((10, 10, 13), (1, 1, 2))), EMPTY)
    assert [lesion.volume_mm3 for lesion in score.lesions] == [4.0]


def test_a_lesion_at_the_volumes_edge_is_scored() -> None:
    """The dilation of a corner voxel needs no room beyond the grid."""
    corner = box_at((0, 0, 0), (2, 2, 2))
    assert score_lesions(make_mask(SHAPE, corner), make_mask(SHAPE, corner)).dice == 1.0


def test_sensitivity_is_counted_by_size() -> None:
    """A found 27 mm³ lesion (3.7 mm) and a missed 8 mm³ one (2.5 mm) fall into their own classes."""
    small = box_at((10, 10, 10), (2, 2, 2))
    score = score_lesions(make_mask(SHAPE, CUBE, small), make_mask(SHAPE, CUBE))
    classes = count_found_by_size([score, score])
    assert [(each.below_mm, each.lesions, each.found) for each in classes] == [
        (3.0, 2, 0),
        (6.0, 2, 2),
        (10.0, 0, 0),
        (math.inf, 0, 0),
    ]
    assert (classes[0].sensitivity, classes[1].sensitivity) == (0.0, 1.0)
    assert math.isnan(classes[2].sensitivity)


def test_another_spacing_is_refused() -> None:
    """The metric's voxels are 1 mm; on others it would silently be another metric."""
    geometry = make_geometry((4, 4, 4), spacing_mm=(1.2, 1.0, 1.0))
    mask = LesionMask(np.zeros((4, 4, 4), dtype=np.bool_), geometry)
    with pytest.raises(InvalidArgumentError):
        score_lesions(mask, mask)
