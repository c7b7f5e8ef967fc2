"""How an inspection is shown, on terminals of usual widths and to scripts."""

import json

import numpy as np
import pytest
from rich.console import Console

from brainmets.imaging.errors import MalformedFileError, MissingT1cError, StudyError
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.sequence_choice import choose_sequences
from brainmets.imaging.series import SeriesAttributes
from brainmets.inspection.report import inspection_json, inspection_report
from brainmets.inspection.study_inspection import Inspection
from imaging_cases import make_geometry

LOCALIZER = SeriesAttributes(
    0, None, fault="several orientations", series_number=1, modality="MR", description="localizer 3 planes"
)
MPRAGE = SeriesAttributes(
    0,
    make_geometry((176, 256, 256)),
    series_number=12,
    modality="MR",
    description="t1_mprage_sag_p2_iso KM",
    scanning_sequence=("GR", "IR"),
    sequence_variant=("SP", "MP"),
    repetition_time_ms=2300.0,
    echo_time_ms=2.98,
    inversion_time_ms=900.0,
    contrast_agent=True,
)
SEVERE = Finding(FindingCode.NOT_A_HEAD, "It does not look like a head.", severity=Severity.SEVERE)


def inspected(*series: SeriesAttributes, findings: tuple[Finding, ...] = ()) -> Inspection:
    """Return what is made of these series."""
    choice = choose_sequences(series)
    return Inspection(series, choice.uses, (*choice.findings, *findings))


def refused(*series: SeriesAttributes) -> Inspection:
    """Return an inspection of series of which none is the T1c."""
    try:
        choose_sequences(series)
    except StudyError as error:
        return Inspection(series, refusal=error)
    raise AssertionError("a T1c was found")


def shown(inspection: Inspection, *, width: int = 80, labels: dict[int, str] | None = None) -> str:
    """Return what a terminal shows, without its frames and line breaks."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(inspection_report(inspection, labels or {}))
    assert all(len(line) <= width for line in capture.get().splitlines())
    return " ".join("".join(" " if letter in "│┃" else letter for letter in capture.get()).split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_series_tells_what_it_is_and_why_it_is_read(width: int) -> None:
    """Number, description, plane, matrix, spacing, times and contrast, in whole words."""
    text = shown(inspected(LOCALIZER, MPRAGE), width=width)
    for words in ("12", "t1_mprage_sag_p2_iso KM", "axial", "176 x 256 x 256", "1.00 x 1.00 x 1.00"):
        assert words in text
    for words in ("TR 2300, TE 2.98", "TI 900", "contrast yes", "contrast unknown", "no volume"):
        assert words in text
    assert "The service would segment this study." in text


def test_a_refused_study_still_tells_what_is_there() -> None:
    """A user sees what the service saw, and the error."""
    text = shown(refused(LOCALIZER))
    assert "It shows a localizer." in text
    assert "several orientations" in text
    assert "The service would refuse this study: No series can be the T1c" in text


def test_a_refusal_names_the_file_by_its_label() -> None:
    """The service knows its number alone."""
    error = MalformedFileError("The file is not whole", expected="all of it", got="half", remedy="", file_index=2)
    text = shown(Inspection(refusal=error), labels={2: "anna-t2w.nii.gz"})
    assert "(anna-t2w.nii.gz)" in text
    assert "(file 2)" not in text


def test_findings_are_told_with_their_code() -> None:
    """As the result would tell them."""
    assert "NOT_A_HEAD It does not look like a head." in shown(inspected(MPRAGE, findings=(SEVERE,)))


def test_a_file_without_description_goes_by_its_label() -> None:
    """The label is for the eye: what it says is no evidence."""
    inspection = inspected(SeriesAttributes(3, make_geometry((100, 200, 200))))
    text = shown(inspection, labels={3: "patient_Gd_localizer.nii.gz"})
    assert "patient_Gd_localizer.nii.gz" in text
    assert "contrast unknown" in text


def test_a_description_cannot_command_the_terminal() -> None:
    """It is what somebody else wrote into a file."""
    hostile = SeriesAttributes(0, None, modality="MR", description="\x1b[31mred [bold]t1[/bold]\x07")
    text = shown(refused(hostile))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]t1[/bold]" in text


@pytest.mark.parametrize(
    ("slice_axis", "plane"), [((0, 0, 1), "axial"), ((0, -1, 0), "coronal"), ((1, 0, 0), "sagittal")]
)
@pytest.mark.parametrize("tilt_deg", [0, 2, 10])
def test_the_plane_is_that_of_the_slices(slice_axis: tuple[int, int, int], plane: str, tilt_deg: int) -> None:
    """Named for the nearest one, in either sense; a tilt that is meant is told."""
    normal = np.array(slice_axis, dtype=float)
    row = np.roll(normal, 1)
    tilt = np.radians(tilt_deg)
    normal, row = np.cos(tilt) * normal + np.sin(tilt) * row, np.cos(tilt) * row - np.sin(tilt) * normal
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([5 * normal, row, np.cross(normal, row)])
    series = SeriesAttributes(0, Geometry((20, 30, 40), affine))
    (told,) = inspection_json(inspected(series), {})["series"]
    assert told["plane"] == (f"{plane}, 10° oblique" if tilt_deg > 5 else plane)


def test_json_tells_the_same() -> None:
    """In the contract's words, so that a script need not read tables."""
    answer = json.loads(json.dumps(inspection_json(inspected(LOCALIZER, MPRAGE, findings=(SEVERE,)), {})))
    assert answer["readable"]
    assert [series["reason"] for series in answer["series"]] == ["localizer", "chosen"]
    assert answer["series"][1]["shape"] == [176, 256, 256]
    assert answer["findings"][-1]["code"] == "NOT_A_HEAD"
    assert answer["findings"][-1]["severity"] == "severe"


def test_json_tells_a_refusal() -> None:
    """With the reason that the service would answer."""
    answer = json.loads(json.dumps(inspection_json(refused(LOCALIZER), {})))
    assert not answer["readable"]
    assert answer["refusal"]["reason"] == MissingT1cError.reason
    assert answer["series"][0]["sequence"] is None
