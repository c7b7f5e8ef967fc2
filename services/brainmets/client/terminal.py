"""What the command line shows: tables and progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from brainmets.client.results import Job, Model, Segmentation

_STAGE_WORDS = {
    "unspecified": "Waiting for a worker",
    "preparing": "Preparing",
    "inferring": "Segmenting",
    "measuring": "Measuring",
    "writing": "Writing results",
}


class StudyProgress:
    """Two bars for one study: bytes sent, then tiles inferred. Use as a context manager."""

    def __init__(self, console: Console, *, total_bytes: int) -> None:
        self._upload = Progress(
            SpinnerColumn(), TextColumn("{task.description:<22}"), BarColumn(), DownloadColumn(), console=console
        )
        self._tiles = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tiles"),
            TimeElapsedColumn(),
            console=console,
        )
        self._upload_task = self._upload.add_task("Sending", total=total_bytes)
        self._tile_task: TaskID | None = None

    def __enter__(self) -> Self:
        self._upload.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._upload.stop()
        self._tiles.stop()

    def sent(self, count: int) -> None:
        """Count bytes that went out."""
        self._upload.advance(self._upload_task, count)

    def changed(self, job: Job) -> None:
        """Show where the job is."""
        if self._tile_task is None:
            self._upload.stop()
            self._tiles.start()
            self._tile_task = self._tiles.add_task(_STAGE_WORDS["unspecified"], total=None)
        if job.state.is_final:
            # A finished job counts no tiles any more: the bar keeps those it had, none when nothing was computed.
            words = "Done, known before" if job.from_cache else "Done"
            tiles = self._tiles.tasks[self._tile_task].total or 0
            self._tiles.update(self._tile_task, description=words, completed=tiles, total=tiles)
            return
        self._tiles.update(
            self._tile_task,
            description=_STAGE_WORDS[job.stage],
            completed=job.tiles_done,
            total=job.tiles_total or None,
        )


def lesion_table(segmentation: Segmentation) -> Table:
    """Lay a result's lesions out, largest first."""
    table = Table(title="Lesions", title_justify="left")
    for heading in ("#", "Side", "Volume mL", "Axial mm", "3-D mm", "Centroid LPS mm", "Mean p"):
        table.add_column(heading, justify="left" if heading == "Side" else "right")
    for lesion in segmentation.lesions:
        table.add_row(
            str(lesion.label),
            lesion.side,
            f"{lesion.volume_mm3 / 1000:.2f}",
            f"{lesion.longest_axial_diameter_mm:.1f} x {lesion.perpendicular_axial_diameter_mm:.1f}",
            f"{lesion.longest_diameter_mm:.1f}",
            ", ".join(str(round(value)) for value in lesion.centroid_mm),
            f"{lesion.mean_probability:.2f}",
        )
    return table


def job_table(jobs: Iterable[Job]) -> Table:
    """Lay jobs out, newest first."""
    table = Table()
    for heading in ("Job", "State", "Stage", "Tiles", "Accepted (UTC)"):
        table.add_column(heading)
    for job in jobs:
        tiles = f"{job.tiles_done}/{job.tiles_total}" if job.tiles_total else ""
        stage = "" if job.stage == "unspecified" else job.stage
        table.add_row(job.job_id, job.state.value, stage, tiles, f"{job.create_time:%Y-%m-%d %H:%M:%S}")
    return table


def model_table(models: Iterable[Model]) -> Table:
    """Lay models out."""
    table = Table()
    for heading in ("Model", "Version", "Ready", "Sequences", "Threshold", "Trained"):
        table.add_column(heading)
    for model in models:
        table.add_row(
            model.model_name,
            model.model_version,
            "yes" if model.ready else "no",
            " ".join(model.sequences),
            f"{model.threshold:g}",
            model.training,
        )
    return table
