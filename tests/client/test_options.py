"""How a caller's options become the contract's."""

import pytest

from brainmets.client import SegmentationOptions
from brainmets.v1 import job_pb2, result_pb2, study_pb2


def test_series_and_force_are_sent() -> None:
    """By the contract's numbers."""
    options = SegmentationOptions(force=True, series={"t1c": 5, "t2f": -1}).to_proto()
    assert options.force
    assert [(chosen.sequence, chosen.series_number) for chosen in options.series] == [
        (study_pb2.SEQUENCE_T1C, 5),
        (study_pb2.SEQUENCE_T2F, -1),
    ]


def test_a_test_says_so() -> None:
    """It is else a patient's."""
    assert SegmentationOptions(test=True).to_proto().test
    assert not SegmentationOptions().to_proto().test


def test_what_is_not_said_is_not_sent() -> None:
    """The service's own choice is told from a client's by absence."""
    assert SegmentationOptions().to_proto() == job_pb2.SegmentationOptions(model=job_pb2.MODEL_CHOICE_MEAN)


@pytest.mark.parametrize("name", ["sensitive", "balanced", "specific"])
def test_an_operating_point_is_sent_by_its_name(name: str) -> None:
    """Words here and in the contract agree."""
    sent = SegmentationOptions(operating_point=name).to_proto().operating_point
    assert result_pb2.OperatingPoint.Name(sent) == f"OPERATING_POINT_{name.upper()}"


def test_an_unknown_operating_point_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(ValueError, match="sensitive, balanced, specific"):
        SegmentationOptions(operating_point="cautious").to_proto()


def test_an_unknown_model_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(ValueError, match="nested_unet"):
        SegmentationOptions(model="unet").to_proto()


def test_an_unknown_sequence_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(ValueError, match="t2w"):
        SegmentationOptions(series={"flair": 4}).to_proto()
