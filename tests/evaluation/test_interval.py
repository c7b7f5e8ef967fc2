"""Tests of bootstrap intervals."""

import numpy as np
import pytest

from brainmets.evaluation.interval import estimate_mean, estimate_ratio


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    """One of one and one of nine lesions found are two of ten."""
    assert estimate_ratio([1.0, 1.0], [1.0, 9.0]).value == pytest.approx(0.2)


def test_the_interval_of_a_mean_is_about_two_standard_errors() -> None:
    """With a hundred studies the percentile interval is the mean and 1.96 standard errors on either side."""
    values = np.random.default_rng(1).normal(0.7, 0.1, size=100)
    figure = estimate_mean(values.tolist())
    error = values.std() / 10.0
    assert figure.low == pytest.approx(figure.value - 1.96 * error, abs=0.4 * error)
    assert figure.high == pytest.approx(figure.value + 1.96 * error, abs=0.4 * error)


def test_two_studies_have_no_interval() -> None:
    """Where there are too few studies the figure stands alone."""
    figure = estimate_mean([0.5, 0.7])
    assert figure.value == pytest.approx(0.6)
    assert np.isnan(figure.low)
    assert np.isnan(figure.high)


def test_no_lesions_have_no_sensitivity() -> None:
    """Nothing found of nothing is not a number."""
    assert np.isnan(estimate_ratio([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]).value)


def test_equal_studies_have_no_interval() -> None:
    """Studies that do not differ say nothing about how far the figure would move."""
    assert np.isnan(estimate_mean([1.0, 1.0, 1.0, 1.0]).low)
