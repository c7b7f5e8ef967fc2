"""An operating point decides something, or there is none."""

import math

import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName, are_ordered


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, math.nan])
def test_a_threshold_lies_inside_0_and_1(threshold: float) -> None:
    """At 0 every voxel would be lesion, at 1 none."""
    with pytest.raises(InvalidArgumentError, match="inside"):
        OperatingPoint(threshold, 10.0)


@pytest.mark.parametrize("volume_mm3", [-1.0, math.inf, math.nan])
def test_a_smallest_volume_is_one(volume_mm3: float) -> None:
    """Nothing is smaller than nothing, and below infinity all would be left out."""
    with pytest.raises(InvalidArgumentError, match="0 mm³ or more"):
        OperatingPoint(0.5, volume_mm3)


def test_no_volume_need_be_asked() -> None:
    """With 0 every component is a lesion."""
    assert OperatingPoint(0.5, 0.0).min_lesion_volume_mm3 == 0.0


@pytest.mark.parametrize("peak", [-0.1, 1.0, math.nan])
def test_a_peak_lies_between_0_and_1(peak: float) -> None:
    """Nothing reaches 1, and below 0 there is nothing."""
    with pytest.raises(InvalidArgumentError, match="a peak in"):
        OperatingPoint(0.5, 10.0, peak)


@pytest.mark.parametrize(
    ("specific", "ordered"),
    [
        (OperatingPoint(0.5, 10.0, 0.9), True),
        (OperatingPoint(0.4, 10.0, 0.9), False),
        (OperatingPoint(0.5, 10.0, 0.7), False),
    ],
)
def test_points_are_ordered_by_threshold_and_peak(specific: OperatingPoint, *, ordered: bool) -> None:
    """Equal ones are in order."""
    usual = OperatingPoint(0.5, 10.0, 0.8)
    points = {
        OperatingPointName.SENSITIVE: usual,
        OperatingPointName.BALANCED: usual,
        OperatingPointName.SPECIFIC: specific,
    }
    assert are_ordered(points) is ordered
