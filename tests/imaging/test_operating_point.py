"""An operating point decides something, or there is none."""

import math

import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.operating_point import OperatingPoint


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
