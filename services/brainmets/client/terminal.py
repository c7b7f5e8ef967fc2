"""What the command line shows: tables and progress bars."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from google.protobuf import json_format
from rich.console import Console, Group
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.client.errors import ServiceError
from brainmets.client.printable import printable
from brainmets.client.whole_table import WholeTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from brainmets.client.cohort import CohortLine
    from brainmets.client.doctor import Check
    from brainmets.client.jobs import Job
    from brainmets.client.models import Model
    from brainmets.client.results import Finding, Segmentation, SeriesUse
    from brainmets.client.study_files import StudyFile

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


def progress_words(job: Job) -> str:
    """Say what is done for a job, or that it has ended."""
    if job.state.is_final:
        return "Done, known before" if job.from_cache else "Done"
    return STAGE_WORDS.get(job.stage, job.stage)


class StudyProgress:
    """Two bars for one study: bytes sent, where it is sent from here, then tiles inferred. Use as a context manager.

    They stay on the terminal when all went well, and give way to the sentence of an error.

    Attributes:
        job: What is known of the study's job; None before the service has named it.
    """

    def __init__(self, console: Console, *, total_bytes: int = 0) -> None:
        self.job: Job | None = None
        self._bar = _Bar(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TextColumn("{task.fields[count]}", style="progress.download"),
            TimeElapsedColumn(),
            console=console,
        )
        self._total_bytes, self._sent_bytes, self._parts = total_bytes, 0, 0
        self._upload = self._bar.add_task("Sending", total=total_bytes, visible=total_bytes > 0, count="")
        self._tiles: TaskID | None = None

    def __enter__(self) -> Self:
        if self._total_bytes:
            self._bar.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._bar.live.transient = error is not None
        self._bar.stop()

    def sent(self, count: int) -> None:
        """Count bytes that went out."""
        self._sent_bytes += count
        words = f"{decimal(self._sent_bytes)} of {decimal(self._total_bytes)}"
        self._bar.update(self._upload, completed=self._sent_bytes, count=words)

    def changed(self, job: Job) -> None:
        """Show where the job is."""
        self.job = job
        if self._tiles is None:
            # There is one: the service has it all.
            self._bar.update(self._upload, completed=self._total_bytes)
            self._tiles = self._bar.add_task("", total=None, count="")
            self._bar.start()
        # A job that waits or has ended counts no parts; one that was known before never had any.
        self._parts = job.tiles_total or self._parts
        ended = job.state.is_final
        done = self._parts if ended else job.tiles_done
        self._bar.update(
            self._tiles,
            description=progress_words(job),
            completed=done,
            total=self._parts or (0 if ended else None),
            count=f"{done} of {self._parts} parts" if self._parts else "",
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
        """Count a study, and say at once why one failed, or took the place of another one."""
        if line.reason:
            style = "red" if line.outcome == "failed" else "yellow"
            words = printable(f"{line.study}: {line.message} [{line.reason}]")
            self._bar.console.print(words, style=style, markup=False)
        self._bar.advance(self._task)
        self.ended_studies += 1

    def waits(self) -> None:
        """Say that the service is out of reach or full, and that this is borne for a while."""
        self._bar.console.print("The service is out of reach or full; waiting for it", style="yellow")


@contextmanager
def files_by_name(files: Sequence[StudyFile]) -> Iterator[None]:
    """Have errors of the service name the file they are about; it knows its number alone, for names stay here."""
    try:
        yield
    except ServiceError as error:
        number = error.metadata.get("file_index", "")
        if len(files) > 1 and number.isdecimal() and int(number) < len(files):
            error.message = error.message.replace(f"(file {number})", f"({files[int(number)].path.name})")
        raise


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
        _print_path(console, path)
    console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


def show_cohort(lines: Iterable[CohortLine], *, summary: Path) -> None:
    """Print what became of a cohort, and the file that tells it too."""
    lines = tuple(lines)
    console = Console()
    console.print(cohort_table(lines))
    if len({(line.software_version, line.networks) for line in lines if line.outcome != "failed"}) > 1:
        console.print(f"Not all of one release or the same networks: {summary.name} says which", style="yellow")
    _print_path(console, summary)
    console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


def _print_path(console: Console, path: Path) -> None:
    # Not broken into lines: it is there to be copied.
    console.print(f"  {printable(path)}", markup=False, highlight=False, soft_wrap=True)


def segmentation_json(segmentation: Segmentation) -> str:
    """Return a result as its file report.json has it, what is empty or zero too, and the job that it came of."""
    report = json_format.MessageToDict(segmentation.report, always_print_fields_with_no_presence=True)
    return json.dumps({"jobId": segmentation.job.job_id, **report}, indent=2)


def show_checks(checks: Sequence[Check], *, next_command: str) -> None:
    """Print an examination and, where nothing fails, the command that tries what was not looked at."""
    console = Console()
    console.print(check_table(checks))
    if not any(check.fails for check in checks):
        # One line of 80 columns, not broken: the command is there to be copied.
        console.print(f"The whole path is tried by: {next_command}", markup=False, highlight=False, soft_wrap=True)


def check_table(checks: Iterable[Check]) -> Table:
    """Lay an examination out: what was found, and under it what to do."""
    table = Table()
    table.add_column("", no_wrap=True)
    table.add_column("Checked", no_wrap=True)
    table.add_column("Found", overflow="fold")
    for check in checks:
        mark = ("ok", "green") if not check.remedy else ("no", "bold red") if check.needed else ("-", "yellow")
        remedy = Text(f"\n→ {check.remedy}", style=mark[1]) if check.remedy else Text()
        table.add_row(Text(*mark), check.name, Text(printable(check.found)) + remedy)
    return table


def cohort_table(lines: Iterable[CohortLine]) -> Table:
    """Lay a cohort out, by study."""
    table = WholeTable(title="Cohort", title_justify="left")
    table.add_column("Study", no_wrap=True)
    table.add_column("Outcome", no_wrap=True)
    for heading in ("Lesions", "Volume, mL"):
        table.add_column(heading, justify="right")
    table.add_column("Why", overflow="fold")
    for line in sorted(lines, key=lambda each: each.study):
        table.add_row(
            Text(printable(line.study)),
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
        f"Sequences {sequence_words(segmentation)} · models {', '.join(segmentation.models)} · "
        f"{point_words(segmentation)} · job {segmentation.job.job_id}"
    )
    return Group(*parts)


def sequence_words(segmentation: Segmentation) -> str:
    """Say what the networks saw, and of which sequences only the request says that they are these."""
    stated = {use.sequence for use in segmentation.series if use.used and use.stated}
    return ", ".join(f"{name} (as stated)" if name in stated else name for name in segmentation.sequences_used)


def point_words(segmentation: Segmentation) -> str:
    """Say where was decided, by name where it was one of the points offered."""
    name = "" if segmentation.operating_point == "unspecified" else f"{segmentation.operating_point}, "
    asks_more = segmentation.min_peak_probability > segmentation.threshold
    peak = f", peak {segmentation.min_peak_probability:g}" if asks_more else ""
    return f"{name}threshold {segmentation.threshold:g}{peak}"


def lesion_table(segmentation: Segmentation) -> Table:
    """Lay a result's lesions out, largest first."""
    table = WholeTable(title="Lesions", title_justify="left")
    # Units stand below, so that rows fit 80 columns.
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
    table = WholeTable(title="Series", title_justify="left")
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
    table = WholeTable()
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
    return Text(f"running\n{progress_words(job).lower()}" if job.state == "running" else job.state.value)


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
    table = WholeTable()
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
