"""What clients may ask for, and that equal wishes are equal."""

import pytest

from brainmets.gateway.option_messages import canonical_options, decision_options, preparation_choices
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.v1 import job_pb2, result_pb2, study_pb2

T1C_5 = job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T1C, series_number=5)
T1C_6 = job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T1C, series_number=6)
T2F_9 = job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T2F, series_number=9)
NO_SEQUENCE = job_pb2.SeriesSelection(series_number=5)


def options(*series: job_pb2.SeriesSelection, force: bool = False) -> job_pb2.SegmentationOptions:
    """Return options that select series by hand."""
    return job_pb2.SegmentationOptions(force=force, series=series)


def test_choices_are_read() -> None:
    """Which series, and whether a severe finding is overridden."""
    selections = (SeriesSelection(Sequence.T1C, 5), SeriesSelection(Sequence.T2F, 9))
    assert preparation_choices(options(T2F_9, T1C_5, force=True)) == PreparationChoices(True, selections)


@pytest.mark.parametrize("series", [(T1C_5, T1C_6), (T1C_5, T1C_5), (NO_SEQUENCE,)], ids=["two", "same", "none"])
def test_each_selected_series_has_a_sequence_of_its_own(series: tuple[job_pb2.SeriesSelection, ...]) -> None:
    """Two for one, or one for none, is not a choice: told before the study waits."""
    with pytest.raises(InvalidArgumentError):
        canonical_options(options(*series))


def test_the_order_of_selections_makes_no_other_request() -> None:
    """A client that asks again under its request_id need not keep it."""
    assert canonical_options(options(T1C_5, T2F_9)) == canonical_options(options(T2F_9, T1C_5))


def test_fields_of_no_contract_are_not_kept() -> None:
    """They could hold a name, or megabytes; those of a message inside another too."""
    unknown = b"\xc2\x3e\x04name"  # field 1000, four bytes
    known = job_pb2.SegmentationOptions(threshold=0.4)
    known.deadline.FromSeconds(60)
    sent = job_pb2.SegmentationOptions.FromString(known.SerializeToString() + unknown)
    sent.deadline.MergeFromString(unknown)
    assert b"name" in sent.SerializeToString()
    assert canonical_options(sent) == canonical_options(known)


def test_canonical_options_say_what_the_client_said() -> None:
    """Nothing is added and nothing lost."""
    sent = job_pb2.SegmentationOptions(
        model=job_pb2.MODEL_CHOICE_NESTED_UNET, threshold=0.4, force=True, series=[T1C_5]
    )
    assert job_pb2.SegmentationOptions.FromString(canonical_options(sent)) == sent


@pytest.mark.parametrize("name", ["SENSITIVE", "BALANCED", "SPECIFIC"])
def test_an_operating_point_is_read(name: str) -> None:
    """Each of the contract's names is the gateway's of that name."""
    sent = job_pb2.SegmentationOptions(operating_point=result_pb2.OperatingPoint.Value(f"OPERATING_POINT_{name}"))
    assert decision_options(sent).operating_point is OperatingPointName[name]


def test_without_an_operating_point_the_balanced_one_decides() -> None:
    """Unset means BALANCED; a number of a newer contract is refused."""
    assert decision_options(job_pb2.SegmentationOptions()).operating_point is OperatingPointName.BALANCED
    with pytest.raises(InvalidArgumentError, match="operating_point"):
        decision_options(job_pb2.SegmentationOptions(operating_point=99))  # type: ignore[arg-type] # on purpose
