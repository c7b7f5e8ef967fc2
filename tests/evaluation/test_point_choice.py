"""Tests of the choice of operating points."""

from dataclasses import replace

import pytest

from brainmets.evaluation.point_choice import PointScore, choose_points, summarize_point
from brainmets.imaging.mets_metric import score_lesions
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from evaluation_cases import make_mask

SPECIFIC, BALANCED, SENSITIVE = (
    OperatingPointName.SPECIFIC,
    OperatingPointName.BALANCED,
    OperatingPointName.SENSITIVE,
)


def _score(
    threshold: float, *, sensitivity: float, false_positives: float, dice: float = 0.5, peak: float = 0.0
) -> PointScore:
    return PointScore(OperatingPoint(threshold, 30.0, peak), sensitivity, 0.0, false_positives, dice)


def test_each_point_finds_the_most_within_its_false_positives() -> None:
    """The budget decides, then the sensitivity."""
    tried = [
        _score(0.3, sensitivity=0.95, false_positives=3.0),
        _score(0.6, sensitivity=0.9, false_positives=0.5),
        _score(0.9, sensitivity=0.6, false_positives=0.1),
        _score(0.1, sensitivity=1.0, false_positives=20.0),
    ]
    chosen = choose_points(tried)
    assert [chosen[name].point.threshold for name in (SENSITIVE, BALANCED, SPECIFIC)] == [0.3, 0.6, 0.9]


def test_of_equally_sensitive_points_the_better_overlap_is_taken() -> None:
    """A threshold that finds the same lesions is chosen by how well it draws them."""
    tried = [
        _score(0.5, sensitivity=0.9, false_positives=0.2, dice=0.7),
        _score(0.6, sensitivity=0.9, false_positives=0.2, dice=0.8),
    ]
    assert choose_points(tried)[SPECIFIC].point.threshold == 0.6


def test_a_more_sensitive_point_never_asks_for_more() -> None:
    """Thresholds fall from specific to sensitive even where chance would have them otherwise."""
    tried = [
        _score(0.4, sensitivity=0.8, false_positives=0.2),
        _score(0.9, sensitivity=0.85, false_positives=0.4),
        _score(0.3, sensitivity=0.82, false_positives=0.45),
    ]
    chosen = choose_points(tried)
    assert chosen[SPECIFIC].point.threshold == 0.4
    assert chosen[BALANCED].point.threshold == 0.3


def test_a_more_sensitive_point_never_asks_for_a_higher_peak() -> None:
    """Peaks fall as thresholds do."""
    tried = [
        _score(0.4, sensitivity=0.8, false_positives=0.2, peak=0.8),
        _score(0.4, sensitivity=0.85, false_positives=0.4, peak=0.9),
        _score(0.4, sensitivity=0.82, false_positives=0.45, peak=0.7),
    ]
    chosen = choose_points(tried)
    assert [chosen[name].point.min_peak_probability for name in (SPECIFIC, BALANCED)] == [0.8, 0.7]


def test_where_nothing_keeps_the_budget_the_fewest_false_positives_win() -> None:
    """A network that cries wolf still gets its most specific point."""
    tried = [
        _score(0.5, sensitivity=0.9, false_positives=9.0),
        _score(0.9, sensitivity=0.7, false_positives=6.0),
    ]
    assert choose_points(tried)[SPECIFIC].point.threshold == 0.9


def test_a_point_is_summed_over_lesions_and_averaged_over_studies() -> None:
    """Two lesions of which one is found, and one false positive in two studies."""
    both = make_mask((5, 5, 5), (5, 20, 20))
    one_and_a_false_one = make_mask((5, 5, 5), (20, 5, 20))
    empty = make_mask()
    scores = [score_lesions(both, one_and_a_false_one), score_lesions(empty, empty)]
    point = summarize_point(OperatingPoint(0.5, 0.0), [scores])
    assert point.sensitivity == 0.5
    assert point.false_positives == 0.5
    # The standard error of none and one is a half, too.
    assert point.likely_false_positives == pytest.approx(1.0)
    assert point.lesionwise_dice == (1.0 / 3.0 + 1.0) / 2.0
    apart = summarize_point(OperatingPoint(0.5, 0.0), [[score] for score in scores])
    # The kind that has most of them decides what a point costs.
    assert apart == replace(point, false_positives=1.0)


def test_a_point_must_keep_its_budget_by_a_standard_error() -> None:
    """Four studies with 0, 0, 0 and 1 false positive may well be of a kind that has 0.5 a study, and four with none."""
    empty, false_one = make_mask(), make_mask((20, 5, 20))
    scores = [score_lesions(empty, prediction) for prediction in (empty, empty, empty, false_one)]
    point = summarize_point(OperatingPoint(0.5, 0.0), [scores])
    assert (point.false_positives, point.likely_false_positives) == (0.25, 0.5)
    # Four that have none may be of a kind that has one in four.
    none = summarize_point(OperatingPoint(0.5, 0.0), [[score_lesions(empty, empty)] * 4])
    assert (none.false_positives, none.likely_false_positives) == (0.0, 0.25)
