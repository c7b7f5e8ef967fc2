"""What the command line shows: tables and progress bars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

from google.protobuf import json_format
from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from brainmets.client.arguments import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from brainmets.client.cohort import CohortLine
    from brainmets.client.doctor import Check
    from brainmets.client.jobs import Job
    from brainmets.client.models import Model
    from brainmets.client.results import Finding, Segmentation, SeriesUse

SEVERITY_STYLES = {"warning": "yellow", "severe": "bold red"}
STAGE_WORDS = {
    "unspecified": "Waiting for a worker",
    "preparing": "Preparing",
    "inferring": "Segmenting",
    "measuring": "Measuring",
    "writing": "Writing results",
}


# A terminal writes ^C behind a bar, which would break into two lines, and half of it stay, if there were no room.
_ECHO_COLUMNS = 3


class _Bar(Progress):
    """Rich's progress bar, narrower than the terminal, and gone when Ctrl-C comes while it is begun."""

    def start(self) -> None:
        """Show it; an interrupt before that is done leaves the terminal as it was."""
        try:
            super().start()
        except KeyboardInterrupt:
            self.live.transient = True
            self.stop()
            raise

    def get_renderable(self) -> RenderableType:
        """Return what is shown."""
        return _Narrow(super().get_renderable())


class _Narrow:
    """Something shown without the terminal's last columns."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._shown, options.update_width(options.max_width - _ECHO_COLUMNS))


class _PartsColumn(ProgressColumn):
    """How many of a study's parts are segmented; nothing while their number is not known, or none had to be."""

    def render(self, task: Task) -> Text:
        """Return the words of a bar."""
        return Text(f"{task.completed:.0f} of {task.total:.0f} parts" if task.total else "", style="progress.download")


class StudyProgress:
    """Two bars for one study: bytes sent, where it is sent from here, then tiles inferred. Use as a context manager.

    They stay on the terminal when all went well, and give way to the sentence of an error.

    Attributes:
        job: What is known of the study's job; None before the service has named it.
    """

    def __init__(self, console: Console, *, total_bytes: int = 0) -> None:
        self.job: Job | None = None
        self._upload = _Bar(
            SpinnerColumn(), TextColumn("{task.description:<22}"), BarColumn(), DownloadColumn(), console=console
        )
        self._tiles = _Bar(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            _PartsColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._upload_task = self._upload.add_task("Sending", total=total_bytes)
        self._tile_task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._upload.tasks[0].total:
            self._upload.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for bar in (self._upload, self._tiles):
            bar.live.transient = error is not None
            bar.stop()

    def sent(self, count: int) -> None:
        """Count bytes that went out."""
        self._upload.advance(self._upload_task, count)

    def changed(self, job: Job) -> None:
        """Show where the job is."""
        self.job = job
        if self._tile_task is None:
            self._upload.stop()
            self._tiles.start()
            self._tile_task = self._tiles.add_task(STAGE_WORDS["unspecified"], total=None)
        if job.state.is_final:
            # A finished job counts no tiles any more: the bar keeps those it had, none when nothing was computed.
            words = "Done, known before" if job.from_cache else "Done"
            tiles = self._tiles.tasks[self._tile_task].total or 0
            self._tiles.update(self._tile_task, description=words, completed=tiles, total=tiles)
            return
        # What comes after inference counts none either, and the bar must not fall back.
        done = job.tiles_done if job.stage == "inferring" else None
        self._tiles.update(
            self._tile_task, description=STAGE_WORDS[job.stage], completed=done, total=job.tiles_total or None
        )


class CohortProgress:
    """One bar for a cohort: studies that have ended. Use as a context manager.

    It gives way to the sentence of an error.

    Attributes:
        studies: How many there are.
        ended_studies: How many of them have ended.
    """

    def __init__(self, console: Console, *, studies: int) -> None:
        self._bar = _Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("studies"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("Segmenting", total=studies)
        self.studies = studies
        self.ended_studies = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._bar.live.transient = error is not None
        self._bar.stop()

    def ended(self, line: CohortLine) -> None:
        """Count a study, and say at once why one failed."""
        if line.outcome == "failed":
            self._bar.console.print(f"{line.study}: {line.message} [{line.reason}]", style="red", markup=False)
        self._bar.advance(self._task)
        self.ended_studies += 1


def print_text(text: str) -> None:
    """Print what a script reads, as it is; by Rich, which ends the command in silence where nobody reads on."""
    Console().out(text, highlight=False)


def show_segmentation(segmentation: Segmentation, *, as_json: bool, paths: Iterable[Path] = ()) -> None:
    """Print a result, and the files that were written."""
    if as_json:
        print_text(segmentation_json(segmentation))
        return
    console = Console()
    console.print(segmentation_report(segmentation))
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


def show_cohort(lines: Iterable[CohortLine], *, summary: Path) -> None:
    """Print what became of a cohort, and the file that tells it too."""
    console = Console()
    console.print(cohort_table(lines))
    console.print(f"  {summary}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


def segmentation_json(segmentation: Segmentation) -> str:
    """Return a result as its file report.json has it, what is empty or zero too, and the job that it came of."""
    report = json_format.MessageToDict(segmentation.report, always_print_fields_with_no_presence=True)
    return json.dumps({"jobId": segmentation.job.job_id, **report}, indent=2)


def check_table(checks: Iterable[Check]) -> Table:
    """Lay an examination out: what was found, and under it what to do."""
    table = Table()
    table.add_column("", no_wrap=True)
    table.add_column("Checked", no_wrap=True)
    table.add_column("Found", overflow="fold")
    for check in checks:
        mark = ("ok", "green") if not check.remedy else ("no", "bold red") if check.needed else ("-", "yellow")
        remedy = Text(f"\n→ {check.remedy}", style=mark[1]) if check.remedy else Text()
        table.add_row(Text(*mark), check.name, Text(check.found) + remedy)
    return table


def cohort_table(lines: Iterable[CohortLine]) -> Table:
    """Lay a cohort out, by study."""
    table = Table(title="Cohort", title_justify="left")
    table.add_column("Study", no_wrap=True)
    table.add_column("Outcome", no_wrap=True)
    for heading in ("Lesions", "Volume, mL"):
        table.add_column(heading, justify="right")
    table.add_column("Why", overflow="fold")
    for line in sorted(lines, key=lambda each: each.study):
        table.add_row(
            line.study,
            str(line.outcome),
            "" if line.lesions is None else str(line.lesions),
            "" if line.volume_mm3 is None else f"{line.volume_mm3 / 1000:.2f}",
            line.reason,
            style="red" if line.outcome == "failed" else None,
        )
    return table


def segmentation_report(segmentation: Segmentation) -> Group:
    """Lay a result out; its series only where there was something to choose."""
    parts: list[RenderableType] = [lesion_table(segmentation)] if segmentation.lesions else []
    parts.append(segmentation.statement)
    if segmentation.candidates_outside_brain:
        parts.append(f"Candidates left out because outside the brain: {segmentation.candidates_outside_brain}")
    parts += [finding_line(finding) for finding in segmentation.findings]
    # NIfTI files have no numbers: each was stated, and all were taken.
    numbered = [use for use in segmentation.series if use.number is not None]
    if len(numbered) > 1 or not all(use.used for use in segmentation.series):
        parts.append(series_table(segmentation.series))
    parts.append(
        f"Sequences {', '.join(segmentation.sequences_used)} · models {', '.join(segmentation.models)} · "
        f"{_point(segmentation)} · job {segmentation.job.job_id}"
    )
    return Group(*parts)


def _point(segmentation: Segmentation) -> str:
    """Say where was decided, by name where it was one of the points offered."""
    name = "" if segmentation.operating_point == "unspecified" else f"{segmentation.operating_point}, "
    asks_more = segmentation.min_peak_probability > segmentation.threshold
    peak = f", peak {segmentation.min_peak_probability:g}" if asks_more else ""
    return f"{name}threshold {segmentation.threshold:g}{peak}"


def lesion_table(segmentation: Segmentation) -> Table:
    """Lay a result's lesions out, largest first."""
    table = Table(title="Lesions", title_justify="left")
    # Units stand below, so that rows fit 80 columns; nothing that is measured may be cut.
    for heading in ("\n#", "\nSide", "Volume\nmL", "Axial\nmm", "3-D\nmm", "Centroid\nLPS mm", "Mean\nprobability"):
        table.add_column(heading, justify="left" if heading == "\nSide" else "right", no_wrap=True)
    for lesion in segmentation.lesions:
        table.add_row(
            str(lesion.label),
            "unknown" if lesion.side == "unspecified" else lesion.side,
            f"{lesion.volume_mm3 / 1000:.2f}",
            f"{lesion.longest_axial_diameter_mm:.1f} x {lesion.perpendicular_axial_diameter_mm:.1f}",
            f"{lesion.longest_diameter_mm:.1f}",
            ", ".join(str(round(value)) for value in lesion.centroid_mm),
            f"{lesion.mean_probability:.2f}",
        )
    return table


def series_table(series: Iterable[SeriesUse]) -> Table:
    """Lay out which series were taken, and why the others were not."""
    table = Table(title="Series", title_justify="left")
    table.add_column("No", justify="right", no_wrap=True)
    table.add_column("What became of it", overflow="fold")
    table.add_column("Voxels", no_wrap=True)
    table.add_column("Spacing, mm", no_wrap=True)
    for use in series:
        table.add_row(
            "" if use.number is None else str(use.number),
            Text(use.message),
            " x ".join(str(size) for size in use.shape),
            " x ".join(f"{step:.2f}" for step in use.spacing_mm),
            style=None if use.used else "dim",
        )
    return table


def finding_line(finding: Finding) -> Text:
    """Return a finding as one line, in the colour of its severity."""
    return Text.assemble((finding.code, SEVERITY_STYLES.get(finding.severity, "")), " ", finding.message)


def job_table(jobs: Iterable[Job]) -> Table:
    """Lay jobs out, newest first."""
    table = Table()
    # An identifier is what a user types next: it is never cut.
    table.add_column("Job", no_wrap=True)
    table.add_column("State", overflow="fold")
    table.add_column("Accepted (UTC)", no_wrap=True)
    for job in jobs:
        table.add_row(job.job_id, _state_words(job), f"{job.create_time:%Y-%m-%d %H:%M:%S}")
    return table


def _state_words(job: Job) -> Text:
    """Say where a job is: how far while it runs, and why when it failed."""
    if job.error is not None:
        return Text(f"failed\n{job.error.reason}", style="red")
    if job.stage == "inferring" and job.tiles_total:
        return Text(f"running\nsegmenting {100 * job.tiles_done // job.tiles_total} %")
    return Text(f"running\n{STAGE_WORDS[job.stage].lower()}" if job.state == "running" else job.state.value)


def model_report(models: Iterable[Model]) -> Group:
    """Lay models out, and say what each reads and how it was trained."""
    models = tuple(models)
    return Group(
        model_table(models),
        Text(
            "Border: probability of a lesion's border. Peak: probability its surest voxel must reach. "
            "Smallest: volume below which none is reported."
        ),
        *(Text(f"{model.model_name}: reads {' '.join(model.sequences)}. {model.training}") for model in models),
    )


def model_table(models: Iterable[Model]) -> Table:
    """Lay models out with their operating points, the most sensitive first."""
    table = Table()
    for heading in ("\nModel", "\nVersion", "\nReady", "Operating\npoint"):
        table.add_column(heading, no_wrap=True)
    for heading in ("\nBorder", "\nPeak", "Smallest\nmm³"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in models:
        points = model.operating_points
        table.add_row(
            model.model_name,
            model.model_version,
            "yes" if model.ready else "no",
            "\n".join(point.name for point in points),
            "\n".join(f"{point.threshold:g}" for point in points),
            "\n".join(f"{point.min_peak_probability:.3f}" for point in points),
            "\n".join(f"{point.min_lesion_volume_mm3:g}" for point in points),
        )
    return table
