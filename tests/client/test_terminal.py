"""What a terminal shows: nothing cut that is measured or typed next, and no bar that falls back."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from rich.console import Console, RenderableType
from rich.live import Live

from brainmets.client.cohort import CohortLine, Outcome
from brainmets.client.errors import ServiceError
from brainmets.client.jobs import Job, JobState
from brainmets.client.models import Model, OperatingPoint
from brainmets.client.results import Lesion, SeriesUse, segmentation_from_proto
from brainmets.client.terminal import (
    CohortProgress,
    StudyProgress,
    cohort_table,
    job_table,
    lesion_table,
    model_table,
    series_table,
    show_cohort,
    show_segmentation,
)
from brainmets.v1 import job_pb2
from terminal import HIDE_CURSOR, SHOW_CURSOR

WIDTH = 80
PAGE = Path(__file__).parents[2] / "docs/how-to/command-line.md"
REFUSED = ServiceError(
    code=grpc.StatusCode.INVALID_ARGUMENT, reason="MALFORMED_FILE", message="The file is not whole", metadata={}
)
SUCCEEDED = Job(
    job_id="413dce294af948bcbd30bba8ec3e7946",
    state=JobState.SUCCEEDED,
    stage="unspecified",
    tiles_done=0,
    tiles_total=0,
    create_time=datetime(2026, 11, 28, 13, 56, 56, tzinfo=UTC),
    from_cache=False,
    artifacts=(),
    error=None,
)
RUNNING = replace(
    SUCCEEDED,
    job_id="a57c4fbcab954134866f77a73a5c5fbe",
    state=JobState.RUNNING,
    stage="inferring",
    tiles_done=9,
    tiles_total=12,
    create_time=datetime(2026, 11, 28, 14, 7, 10, tzinfo=UTC),
)
FAILED = replace(
    SUCCEEDED,
    job_id="3dfd9af3396545ef944becb1852475b4",
    state=JobState.FAILED,
    create_time=datetime(2026, 11, 28, 13, 58, 59, tzinfo=UTC),
    error=REFUSED,
)
DONE = CohortLine("first", Outcome.DONE_BEFORE, 1, 20.0, software_version="0.1", networks="a@1")
# The first two of the demonstration study, as `make run` finds them.
LESIONS = (
    Lesion(1, 7564.0, 25.7, 24.0, 27.0, (-36.0, 52.0, -6.0), "right", 0.93, 0.99),
    Lesion(2, 3802.0, 20.4, 19.4, 21.7, (25.0, 53.0, 33.0), "left", 0.94, 0.99),
)


WIDEST = Lesion(10, 123450.0, 98.0, 97.1, 118.0, (-192.0, -307.0, -177.0), "unspecified", 0.93, 0.99)
POINTS = (OperatingPoint("sensitive", 0.25, 5.0, 0.5), OperatingPoint("specific", 0.375, 20.0, 0.912))
MODEL = Model("attention_unet", "1", "", ("t1c",), 0.3, POINTS, "", "", ready=True)
SERIES = SeriesUse(0, 0, 12, "t1c", True, "chosen", "Taken as t1c.", (176, 256, 256), (0.98, 0.5, 0.5))


def shown(renderable: RenderableType, *, width: int = WIDTH) -> str:
    """Return what a terminal shows, without what only pads."""
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def lesions_shown(*lesions: Lesion, width: int = WIDTH) -> str:
    """Return the table of lesions."""
    none = segmentation_from_proto(job_pb2.Job(state=job_pb2.JOB_STATE_SUCCEEDED), {})
    return shown(lesion_table(replace(none, lesions=lesions)), width=width)


def test_the_table_of_a_large_lesion_is_whole() -> None:
    """With the longest words and numbers that a head can hold, no cell ends in an ellipsis."""
    table = lesions_shown(WIDEST)
    assert "…" not in table
    assert "│ 10 │ unknown │ 123.45 │ 98.0 x 97.1 │ 118.0 │ -192, -307, -177 │        0.93 │" in table
    assert "probability" in table


@pytest.mark.parametrize("width", [40, 60, 72, 80, 120])
def test_nothing_measured_is_cut_in_any_terminal(width: int) -> None:
    """What has no room beside each other stands below, each value behind its heading."""
    tables = {
        lesions_shown(WIDEST, width=width): ("123.45", "98.0 x 97.1", "118.0", "-192, -307, -177", "0.93"),
        shown(job_table((FAILED, RUNNING)), width=width): (FAILED.job_id, "MALFORMED_FILE", "2026-11-28 13:58:59"),
        shown(model_table([MODEL]), width=width): ("attention_unet", "0.25", "0.375", "0.912", "specific"),
        shown(series_table([SERIES]), width=width): ("176 x 256 x 256", "0.98 x 0.50 x 0.50"),
        shown(cohort_table([replace(DONE, study="s" * 30, lesions=12)]), width=width): ("s" * 30, "12", "0.02"),
    }
    for table, told in tables.items():
        assert "…" not in table
        assert all(len(line) <= width for line in table.splitlines())
        assert all(words in " ".join(table.split()) for words in told)


def test_a_row_without_room_is_told_with_its_headings() -> None:
    """Lines of one heading are one; what is empty is left out."""
    assert shown(job_table((FAILED, SUCCEEDED)), width=60).splitlines() == [
        f"Job: {FAILED.job_id} · State: failed,",
        "MALFORMED_FILE · Accepted (UTC): 2026-11-28 13:58:59",
        f"Job: {SUCCEEDED.job_id} · State: succeeded ·",
        "Accepted (UTC): 2026-11-28 13:56:56",
    ]
    assert shown(cohort_table([replace(DONE, study="s" * 60)])).splitlines()[0] == "Cohort"
    assert "Why" not in shown(cohort_table([replace(DONE, study="s" * 60)]))


def test_the_table_of_jobs_holds_whole_identifiers_and_reasons() -> None:
    """An identifier is what a user types next; a failed job says why."""
    table = shown(job_table((SUCCEEDED, RUNNING, FAILED)))
    assert "…" not in table
    assert all(job.job_id in table for job in (SUCCEEDED, RUNNING, FAILED))
    assert "segmenting 75 %" in table
    assert "MALFORMED_FILE" in table


def watched(*jobs: Job, error: Exception | None = None) -> str:
    """Return what a terminal has shown of a job's way."""
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    progress = StudyProgress(console)
    try:
        with progress:
            for job in jobs:
                progress.changed(job)
            if error is not None:
                raise error
    except ServiceError:
        pass
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_bar_of_a_job_that_has_ended_is_full() -> None:
    """It counts no tiles any more; the bar keeps those it had."""
    last = watched(RUNNING, SUCCEEDED).split("\r")[-1]
    assert "Done" in last
    assert "12 of 12 parts" in last


def test_a_study_is_sent_then_segmented() -> None:
    """A bar each, of which the first is full once the service has the study, whatever was counted."""
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    with StudyProgress(console, total_bytes=3_000_000) as progress:
        progress.sent(2_000_000)
        progress.changed(RUNNING)
    last = console.file.getvalue().rpartition("Sending")[2]  # type: ignore[attr-defined]
    sending, segmenting, *_ = last.split("\n")
    assert "2.0 MB of 3.0 MB" in sending
    assert "9 of 12 parts" in segmenting


def test_a_study_known_before_counts_no_parts() -> None:
    """Nothing was computed: "0 of 0" would be a riddle."""
    last = watched(replace(SUCCEEDED, from_cache=True)).split("\r")[-1]
    assert "known before" in last
    assert "parts" not in last


def test_a_bar_gives_way_to_an_error() -> None:
    """A spinner that stands still beside it would look as if something went on."""
    # ESC [2K erases a line.
    assert watched(RUNNING, error=REFUSED).rstrip().endswith("\x1b[2K")
    assert not watched(RUNNING).rstrip().endswith("\x1b[2K")


def test_an_interrupt_while_a_bar_is_begun_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when it comes: between the bar's first lines and the block that would end it as well."""
    shown = io.StringIO()

    def interrupt(_: Live) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Live, "refresh", interrupt)
    with pytest.raises(KeyboardInterrupt):
        StudyProgress(Console(file=shown, force_terminal=True), total_bytes=10).__enter__()
    assert shown.getvalue().rfind(SHOW_CURSOR) > shown.getvalue().rfind(HIDE_CURSOR) >= 0


def test_a_bar_leaves_room_for_the_echo_of_ctrl_c() -> None:
    """The terminal writes ^C behind it: a bar as wide as the terminal would break in two, and half of it stay."""
    last = watched(replace(RUNNING, tiles_done=10, tiles_total=12)).split("\r")[-1]
    assert len(re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", last).rstrip("\n")) <= WIDTH - len("^C")


def test_a_cohort_that_waits_for_the_service_says_so() -> None:
    """A bar that stands still for ten minutes would look dead."""
    shown = io.StringIO()
    with CohortProgress(Console(file=shown, force_terminal=True), studies=2) as progress:
        progress.waits()
    assert "waiting for it" in shown.getvalue()


def test_a_study_that_took_anothers_place_is_told() -> None:
    """And no study that is as it was."""
    shown = io.StringIO()
    with CohortProgress(Console(file=shown, width=WIDTH), studies=2) as progress:
        progress.ended(replace(DONE, reason="STUDY_CHANGED", message="they were of other files"))
        progress.ended(replace(DONE, study="second"))
    assert "first: they were of other files [STUDY_CHANGED]" in shown.getvalue()
    assert "second" not in shown.getvalue()


def test_a_name_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Files are named by others: neither a control sequence nor Rich's own marks do anything."""
    line = CohortLine("\x1b[31m[red]x", Outcome.FAILED, reason="STUDY_PATH", message="got \x1b[31mx\x07")
    shown = io.StringIO()
    with CohortProgress(Console(file=shown, width=WIDTH), studies=1) as progress:
        progress.ended(line)
    assert " [31m[red]x: got  [31mx  [STUDY_PATH]" in shown.getvalue()
    none = segmentation_from_proto(job_pb2.Job(state=job_pb2.JOB_STATE_SUCCEEDED), {})
    show_cohort([line], summary=Path("\x1b[31m[red]out/summary.csv"))
    show_segmentation(none, as_json=False, paths=[Path("\x1b[31m[red]out/mask.nii.gz")])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert all(name in printed for name in ("│  [31m[red]x", "   [31m[red]out/summary.csv", " [31m[red]out/mask"))


@pytest.mark.parametrize("other", [{"software_version": "0.2"}, {"networks": "a@2"}])
def test_results_of_several_releases_are_told(other: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """They stand in one table, and nothing is computed anew for it; a study that failed is of none."""
    failed = CohortLine("third", Outcome.FAILED)
    show_cohort((DONE, replace(DONE, study="second"), failed), summary=Path("summary.csv"))
    assert "release" not in capsys.readouterr().out
    show_cohort((DONE, replace(DONE, study="second", **other)), summary=Path("summary.csv"))
    assert "Not all of one release or the same networks: summary.csv says which" in capsys.readouterr().out


def test_the_page_shows_the_screens_as_they_are() -> None:
    """A screen in the documentation that goes stale is worse than none."""
    page = PAGE.read_text(encoding="utf-8")
    for screen in (lesions_shown(*LESIONS), shown(job_table((RUNNING, FAILED, SUCCEEDED)))):
        assert screen in page, f"put this into {PAGE.name}:\n{screen}"
