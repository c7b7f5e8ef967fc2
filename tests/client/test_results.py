"""What the service says, as plain values and on a terminal."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from brainmets.client import Finding, ResultsUnsavedError, Segmentation, SeriesUse
from brainmets.client.models import Model, OperatingPoint
from brainmets.client.results import RESULT_NAMES, segmentation_from_proto
from brainmets.client.terminal import model_report, segmentation_report
from brainmets.gateway.outputs import FILE_NAMES
from brainmets.v1 import job_pb2, result_pb2, study_pb2

T1C = result_pb2.SeriesUse(
    series_index=0,
    series_number=5,
    file_index=2,
    sequence=study_pb2.SEQUENCE_T1C,
    used=True,
    reason=result_pb2.SERIES_REASON_CHOSEN,
    message="Taken as t1c.",
    shape=(20, 31, 46),
    spacing_mm=(5.0, 1.0, 1.0),
)
LOCALIZER = result_pb2.SeriesUse(
    series_index=1, reason=result_pb2.SERIES_REASON_LOCALIZER, message="It shows a localizer."
)
SEVERE = result_pb2.Finding(
    code=result_pb2.FINDING_CODE_THICK_SLICES, message="They are thick.", severity=result_pb2.SEVERITY_SEVERE
)


def segmentation(
    *series: result_pb2.SeriesUse,
    finding: result_pb2.Finding = SEVERE,
    outside: int = 0,
    point: result_pb2.OperatingPoint.ValueType = result_pb2.OPERATING_POINT_UNSPECIFIED,
    peak: float = 0.0,
) -> Segmentation:
    """Return a result without lesions."""
    result = result_pb2.SegmentationResult(
        statement="No lesion.",
        series=series,
        findings=[finding],
        candidates_outside_brain=outside,
        operating_point=point,
        threshold=0.25,
        min_peak_probability=peak,
    )
    return segmentation_from_proto(job_pb2.Job(job_id="a", state=job_pb2.JOB_STATE_SUCCEEDED, result=result), {})


def printed(shown: Segmentation | Model, *, width: int = 80) -> str:
    """Return what a terminal shows of it."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(segmentation_report(shown) if isinstance(shown, Segmentation) else model_report([shown]))
    return capture.get()


def test_series_are_plain_values() -> None:
    """A number that is not there is None, as is a sequence that cannot be told."""
    assert segmentation(T1C, LOCALIZER).series == (
        SeriesUse(0, 2, 5, "t1c", True, "chosen", "Taken as t1c.", (20, 31, 46), (5.0, 1.0, 1.0)),
        SeriesUse(1, 0, None, None, False, "localizer", "It shows a localizer.", (), ()),
    )


def test_a_lesion_has_its_box_and_a_result_its_smallest_volume_and_tilt() -> None:
    """As the contract tells them."""
    box = result_pb2.VoxelBox(start=(1, 2, 3), stop=(4, 6, 8))
    result = result_pb2.SegmentationResult(
        lesions=[result_pb2.Lesion(bounding_box=box)], min_lesion_volume_mm3=14.0, slice_angulation_deg=12.5
    )
    read = segmentation_from_proto(job_pb2.Job(state=job_pb2.JOB_STATE_SUCCEEDED, result=result), {})
    assert read.lesions[0].bounding_box == ((1, 2, 3), (4, 6, 8))
    assert (read.min_lesion_volume_mm3, read.slice_angulation_deg) == (14.0, 12.5)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 4 KB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_results(tmp_path: Path) -> None:
    """Nor harms those of before; the folder is named, and the job that keeps them."""
    out = tmp_path / "out"
    files = {"lesions.csv": b"new", "mask.nii.gz": bytes(9000)}
    shown = replace(segmentation(), files=files)
    for kept in ({}, {"lesions.csv": b"old", "notes.txt": b"mine"}):
        for name, content in kept.items():
            out.mkdir(exist_ok=True)
            (out / name).write_bytes(content)
        with full_disk(), pytest.raises(ResultsUnsavedError, match="too large") as caught:
            shown.save(out)
        assert (caught.value.filename, caught.value.job_id) == (str(out), "a")
        assert {path.name: path.read_bytes() for path in out.glob("*")} == kept
        assert {path.name for path in tmp_path.iterdir()} == ({"out"} if kept else set())
    assert shown.save(out) == (out / "lesions.csv", out / "mask.nii.gz")
    expected = files | {"notes.txt": b"mine"}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


def test_what_a_killed_save_has_left_is_of_no_result(tmp_path: Path) -> None:
    """It may be another patient's; what earlier releases left has a name that is known."""
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "probability.nii.gz").write_bytes(b"another")
    replace(segmentation(), files={"mask.nii.gz": b"own"}).save(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]


def test_files_of_another_result_do_not_stay_beside_its_own(tmp_path: Path) -> None:
    """Whatever a result can have; files of others do, also one in our way of naming what is unfinished."""
    for name in (*RESULT_NAMES, "notes.txt", ".part"):
        (tmp_path / name).write_bytes(b"another")
    replace(segmentation(), files={"mask.nii.gz": b"own", "report.json": b"own"}).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "mask.nii.gz": b"own",
        "report.json": b"own",
        "notes.txt": b"another",
        ".part": b"another",
    }


def test_no_report_stands_beside_half_of_a_result(tmp_path: Path) -> None:
    """By the report a folder is known to hold results; a folder in the place of a file stops them on their way."""
    (tmp_path / "mask.nii.gz").mkdir()
    (tmp_path / "report.json").write_bytes(b"another")
    files = {"report.json": b"own", "lesions.csv": b"own", "mask.nii.gz": b"own"}
    with pytest.raises(ResultsUnsavedError):
        replace(segmentation(), files=files).save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mask.nii.gz", "lesions.csv"}


def test_the_files_of_a_result_are_those_that_the_service_writes() -> None:
    """One that is not known here would stay beside another study's."""
    assert set(RESULT_NAMES) == set(FILE_NAMES.values())


def test_a_folder_of_results_is_open_to_whom_others_are(tmp_path: Path) -> None:
    """It is made in a temporary one, which is closed."""
    (tmp_path / "other").mkdir()
    replace(segmentation(), files={"mask.nii.gz": b"own"}).save(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_findings_have_a_severity() -> None:
    """What was forced stays in the result."""
    assert segmentation().findings == (Finding("THICK_SLICES", "They are thick.", None, "severe"),)


def test_words_of_a_newer_contract_are_borne() -> None:
    """An older client goes on reading results."""
    newer = result_pb2.Finding(code=99, message="New.", severity=9)  # type: ignore[arg-type]  # unknown on purpose
    assert segmentation(finding=newer).findings == (Finding("UNKNOWN", "New.", None, "unknown"),)


@pytest.mark.parametrize("width", [80, 120])
def test_a_choice_is_shown_as_a_table(width: int) -> None:
    """Which series was taken, and why another was not."""
    text = printed(segmentation(T1C, LOCALIZER), width=width)
    assert "Taken as t1c." in " ".join(text.split())
    assert "localizer" in text


def test_where_nothing_was_chosen_nothing_is_shown() -> None:
    """One series, or NIfTI files that were all stated: the table would say what the user said."""
    stated = result_pb2.SeriesUse(used=True, reason=result_pb2.SERIES_REASON_CHOSEN, message="Taken.")
    assert "Series" not in printed(segmentation(T1C))
    assert "Series" not in printed(segmentation(stated, stated))
    assert "Series" in printed(segmentation(T1C, T1C))
    assert "Series" in printed(segmentation(LOCALIZER))


def test_sequences_that_no_header_tells_are_called_stated() -> None:
    """Each by itself: of a study's files one may be named and another not."""
    stated = result_pb2.SeriesUse(used=True, sequence=study_pb2.SEQUENCE_T1N, stated=True)
    left = result_pb2.SeriesUse(used=False, sequence=study_pb2.SEQUENCE_T1C, stated=True)
    shown = replace(segmentation(T1C, stated, left), sequences_used=("t1c", "t1n"))
    assert "Sequences t1c, t1n (as stated) ·" in printed(shown)


def test_candidates_outside_the_brain_are_counted() -> None:
    """And only where there were some."""
    assert "outside the brain: 3" in printed(segmentation(outside=3))
    assert "outside" not in printed(segmentation())


def test_an_operating_point_is_named_beside_its_threshold() -> None:
    """Figures of one's own have no name."""
    assert "sensitive, threshold 0.25" in printed(segmentation(point=result_pb2.OPERATING_POINT_SENSITIVE))
    assert "· threshold 0.25" in printed(segmentation())
    assert "threshold 0.25, peak 0.75" in printed(segmentation(peak=0.75))
    assert "peak" not in printed(segmentation(peak=0.25))


def test_models_are_readable_at_80_columns() -> None:
    """Names stay whole, for they are typed next, and each operating point is one line."""
    points = (OperatingPoint("sensitive", 0.125, 12.5, 0.625), OperatingPoint("specific", 0.85, 60.0, 0.975))
    model = Model(
        "attention_unet", "1", "ab" * 32, ("t1c", "t1n", "t2w", "t2f"), 0.7, points, "core", "On heads.", True
    )
    lines = printed(model).splitlines()
    rows = [line.replace("│", " ").split() for line in lines]
    assert ["attention_unet", "1", "yes", "sensitive", "0.125", "0.625", "12.5"] in rows
    assert ["specific", "0.85", "0.975", "60"] in rows
    assert "attention_unet: reads t1c t1n t2w t2f. On heads." in [line.strip() for line in lines]
    assert max(map(len, lines)) <= 80
