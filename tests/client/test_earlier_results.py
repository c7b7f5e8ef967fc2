"""Whether results that lie in a folder answer what is asked for, as far as their report tells."""

from pathlib import Path

import pytest

from brainmets.client import SegmentationOptions
from brainmets.client.earlier_results import check_options, read_earlier_report
from brainmets.client.errors import EarlierResultsError
from brainmets.v1 import result_pb2, study_pb2

OUT = Path("out")
BOTH = [result_pb2.ModelUse(model_name=name) for name in ("attention_unet", "nested_unet")]


def report_of(
    *series: result_pb2.SeriesUse, severity: result_pb2.Severity.ValueType = result_pb2.SEVERITY_WARNING
) -> result_pb2.SegmentationResult:
    """Return the report of a study that the defaults decided."""
    return result_pb2.SegmentationResult(
        models=BOTH,
        operating_point=result_pb2.OPERATING_POINT_BALANCED,
        findings=[result_pb2.Finding(severity=severity)],
        series=series,
    )


def t1c(number: int, reason: result_pb2.SeriesReason.ValueType) -> result_pb2.SeriesUse:
    """Return a series that stood for the T1c."""
    used = reason == result_pb2.SERIES_REASON_CHOSEN
    return result_pb2.SeriesUse(series_number=number, sequence=study_pb2.SEQUENCE_T1C, used=used, reason=reason)


PREFERRED = report_of(t1c(5, result_pb2.SERIES_REASON_CHOSEN), t1c(7, result_pb2.SERIES_REASON_ANOTHER_PREFERRED))
SELECTED = report_of(t1c(5, result_pb2.SERIES_REASON_ANOTHER_STATED), t1c(7, result_pb2.SERIES_REASON_CHOSEN))
FORCED = report_of(severity=result_pb2.SEVERITY_SEVERE)
UNUSABLE = report_of(t1c(5, result_pb2.SERIES_REASON_UNUSABLE_GEOMETRY))


@pytest.mark.parametrize(
    ("report", "options"),
    [
        (report_of(), SegmentationOptions()),
        (report_of(), SegmentationOptions(force=True)),
        (FORCED, SegmentationOptions(force=True)),
        (PREFERRED, SegmentationOptions()),
        (PREFERRED, SegmentationOptions(series={"t1c": 5})),
        (SELECTED, SegmentationOptions(series={"t1c": 7})),
        (UNUSABLE, SegmentationOptions(series={"t1c": 5})),
    ],
)
def test_the_same_options_would_have_the_same_results(
    report: result_pb2.SegmentationResult, options: SegmentationOptions
) -> None:
    """Also where what was asked for made no difference."""
    check_options(report, options, folder=OUT)


@pytest.mark.parametrize(
    ("report", "options", "words"),
    [
        (FORCED, SegmentationOptions(), "of force off, got those of on in out"),
        (PREFERRED, SegmentationOptions(series={"t1c": 7}), "of t1c series 7, got those of 5 in out"),
        (PREFERRED, SegmentationOptions(series={"t2f": 5}), "of t2f series 5, got those of none in out"),
        (SELECTED, SegmentationOptions(), "of t1c series that the service chooses, got those of one that was selected"),
    ],
)
def test_results_of_another_choice_are_refused(
    report: result_pb2.SegmentationResult, options: SegmentationOptions, words: str
) -> None:
    """What was forced through is no answer to who would have had it refused; another series is another image."""
    with pytest.raises(EarlierResultsError, match=words) as caught:
        check_options(report, options, folder=OUT)
    assert caught.value.reason == "OTHER_OPTIONS"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"title": "of another program"}'])
def test_a_report_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    """Whatever a stop or another program has left there: what is not ours is not replaced."""
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(EarlierResultsError, match=r"without a readable report\.json"):
        read_earlier_report(tmp_path)
