"""Tests of calibration: a probability of p is right in p of the cases."""

import numpy as np
import pytest
from scipy.special import expit

from brainmets.evaluation.calibration import ProbabilityCounts, scale_probability
from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.probability_map import ProbabilityMap

SHAPE = (40, 50, 50)
GRID = Geometry(SHAPE, np.eye(4))


def _draw(*, overconfidence: float) -> tuple[ProbabilityMap, LesionMask]:
    """Return voxels that are lesion as often as sigmoid(z) says, and the probability sigmoid(overconfidence z)."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(scale=1.5, size=SHAPE)
    lesion = rng.random(SHAPE) < expit(log_odds)
    return ProbabilityMap(expit(overconfidence * log_odds).astype(np.float32), GRID), LesionMask(lesion, GRID)


def test_a_calibrated_network_has_no_error() -> None:
    """Voxels that are lesion as often as said have an expected calibration error of zero, but for chance."""
    counts = ProbabilityCounts.count(*_draw(overconfidence=1.0))
    assert counts.expected_error() < 0.01
    assert counts.fit_temperature() == pytest.approx(1.0, abs=0.05)


def test_overconfidence_is_measured_and_its_temperature_found() -> None:
    """Log-odds that are twice too large are divided by a temperature of two, which takes the error away."""
    counts = ProbabilityCounts.count(*_draw(overconfidence=2.0))
    temperature = counts.fit_temperature()
    assert temperature == pytest.approx(2.0, abs=0.1)
    assert counts.expected_error() > 0.05
    assert counts.expected_error(temperature=temperature) < 0.015


def test_the_error_is_the_weighted_gap_of_the_cells() -> None:
    """Three voxels of 0.8 of which one is lesion, and one of 0.2 that is none: (3 |0.8 - 1/3| + 0.2) / 4."""
    voxels = np.full((1, 1, 5), 0.8, dtype=np.float32)
    voxels[..., 3:] = (0.2, 0.001)
    grid = Geometry((1, 1, 5), np.eye(4))
    lesion = np.zeros((1, 1, 5), dtype=np.bool_)
    lesion[..., 0] = True
    counts = ProbabilityCounts.count(ProbabilityMap(voxels, grid), LesionMask(lesion, grid))
    assert counts.voxels == 4  # the last one is certain and not asked
    assert counts.expected_error() == pytest.approx((3 * (0.8 - 1 / 3) + 0.2) / 4, abs=0.01)
    assert [cell.voxels for cell in counts.reliability()] == [1, 3]


def test_studies_add_up() -> None:
    """The counts of two studies together are what both say."""
    counts = ProbabilityCounts.count(*_draw(overconfidence=1.5))
    assert (counts + counts).voxels == 2 * counts.voxels
    assert (counts + counts).expected_error() == pytest.approx(counts.expected_error())


def test_a_missed_lesion_counts() -> None:
    """A voxel of a lesion is asked however improbable the network calls it."""
    grid = Geometry((1, 1, 1), np.eye(4))
    nothing = ProbabilityMap(np.zeros((1, 1, 1), dtype=np.float32), grid)
    counts = ProbabilityCounts.count(nothing, LesionMask(np.ones((1, 1, 1), dtype=np.bool_), grid))
    assert counts.expected_error() == pytest.approx(1.0, abs=0.001)


def test_nothing_asked_has_no_error_and_no_temperature() -> None:
    """Where nothing is lesion and nothing was predicted, calibration says nothing."""
    grid = Geometry((1, 1, 1), np.eye(4))
    nothing = ProbabilityMap(np.zeros((1, 1, 1), dtype=np.float32), grid)
    counts = ProbabilityCounts.count(nothing, LesionMask(np.zeros((1, 1, 1), dtype=np.bool_), grid))
    assert np.isnan(counts.expected_error())
    with pytest.raises(InvalidArgumentError, match="temperature"):
        counts.fit_temperature()


def test_a_scaled_map_has_its_log_odds_divided() -> None:
    """A temperature of two turns the log-odds of 3 into 1.5, and leaves what is undecided where it is."""
    grid = Geometry((1, 1, 2), np.eye(4))
    probability = ProbabilityMap(expit(np.array([[[3.0, 0.0]]])).astype(np.float32), grid)
    scaled = scale_probability(probability, temperature=2.0)
    assert scaled.voxels.ravel().tolist() == pytest.approx([expit(1.5), 0.5], abs=1e-5)
