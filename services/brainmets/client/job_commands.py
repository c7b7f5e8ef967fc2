"""The commands that treat jobs: submit, watch, fetch, cancel, jobs."""

# ruff: noqa: FBT002 -- typer makes options of a function's defaults

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from brainmets.client.arguments import (
    AsJson,
    Force,
    JobId,
    MinPeak,
    MinVolume,
    ModelName,
    Networks,
    Output,
    Point,
    Selections,
    Study,
    Threshold,
    check_output,
    read_options,
    read_output,
    read_study,
)
from brainmets.client.cohort import SUMMARY_NAME, CohortLine, Outcome, find_studies, segment_cohort
from brainmets.client.endings import ExitCode, errors_end_the_command
from brainmets.client.interruption import Interruption, leave_job
from brainmets.client.jobs import JobState
from brainmets.client.service_options import Service, calls_service
from brainmets.client.terminal import (
    CohortProgress,
    StudyProgress,
    files_by_name,
    job_table,
    print_text,
    show_cohort,
    show_segmentation,
)

if TYPE_CHECKING:
    from brainmets.client.jobs import Job
    from brainmets.client.options import SegmentationOptions
    from brainmets.client.results import Segmentation


@calls_service
def submit(  # noqa: PLR0913, PLR0917 -- the options of a command line
    study: Study,
    service: Service,
    cohort: Annotated[
        bool,
        typer.Option("--all", help="STUDY is a folder of studies: segment all, results in --output."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="With --all, folder for the results; out unless said.",
            callback=read_output,
        ),
    ] = None,
    model: Networks = ModelName.MEAN,
    operating_point: Point = None,
    threshold: Threshold = None,
    min_volume_mm3: MinVolume = None,
    min_peak: MinPeak = None,
    series: Selections = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Send a study and print its job at once; with --all, segment a folder of studies, going on after a stop.

    Example: brainmets submit study/
    Example: brainmets submit --all cohort/ --output results/
    """
    options = read_options(
        model,
        operating_point,
        threshold=threshold,
        min_volume_mm3=min_volume_mm3,
        min_peak=min_peak,
        series=series,
        force=force,
    )
    if cohort:
        _submit_all(study, options, output=output or Path("out"), service=service, as_json=as_json)
        return
    if output is not None:
        raise typer.BadParameter(
            "expected --all with it, for one study is only sent; `brainmets fetch` writes its results",
            param_hint="--output",
        )
    console = Console(stderr=True)
    with errors_end_the_command(console, service, interrupted=lambda: _sending_ended(service)):
        files = read_study(study, console)
        total_bytes = sum(file.size_bytes for file in files)
        progress = StudyProgress(console, total_bytes=total_bytes)
        with files_by_name(files), progress, service.client() as client:
            job = client.submit(files, options, on_sent=progress.sent)
        print_text(json.dumps(_row(job)) if as_json else job.job_id)


def _sending_ended(service: Service) -> Interruption:
    # The moment between the last byte and the answer is too short to be told from those before it.
    return Interruption(
        "interrupted while sending; if the service had the whole study, its job goes on and is listed by",
        (service.command("jobs"),),
    )


def _submit_all(folder: Path, options: SegmentationOptions, *, output: Path, service: Service, as_json: bool) -> None:
    check_output(output)
    if output.resolve() == folder.resolve():
        raise typer.BadParameter(
            "expected a folder for results other than the studies' own, got the same; name another",
            param_hint="--output",
        )
    console = Console(stderr=True)
    with errors_end_the_command(console):
        studies = find_studies(folder, output=output)
    progress = CohortProgress(console, studies=len(studies))
    with errors_end_the_command(console, service, interrupted=lambda: _cohort_left(service, progress)):
        with service.client() as client:
            # A service out of reach is told once, not for every study.
            next(client.jobs(page_size=1), None)
        output.mkdir(parents=True, exist_ok=True)
        with progress:
            lines = asyncio.run(_run_cohort(studies, options, output, service, progress))
        if as_json:
            print_text(json.dumps([asdict(line) for line in lines]))
        else:
            show_cohort(lines, summary=output / SUMMARY_NAME)
    raise typer.Exit(ExitCode.FAILED if any(line.outcome is Outcome.FAILED for line in lines) else ExitCode.OK)


def _cohort_left(service: Service, progress: CohortProgress) -> Interruption:
    return Interruption(
        f"interrupted; {progress.ended_studies} of {progress.studies} studies have ended, and those that were sent go "
        "on. The same command again takes them up; until then they are listed by",
        (service.command("jobs"),),
    )


async def _run_cohort(
    studies: tuple[Path, ...], options: SegmentationOptions, output: Path, service: Service, progress: CohortProgress
) -> tuple[CohortLine, ...]:
    async with service.async_client() as client:
        return await segment_cohort(
            client, studies, options, output=output, on_line=progress.ended, on_waiting=progress.waits
        )


@calls_service
def watch(job_id: JobId, service: Service, as_json: AsJson = False) -> None:
    """Follow a job to its end; leaving (Ctrl-C) does not cancel it.

    Example: brainmets watch "$(brainmets submit study/)"
    """
    console = Console(stderr=True)
    with errors_end_the_command(console, service, interrupted=lambda: leave_job(service, job_id)):
        segmentation = _follow(service, job_id, console)
        show_segmentation(segmentation, as_json=as_json)


@calls_service
def fetch(job_id: JobId, service: Service, output: Output = Path("out"), as_json: AsJson = False) -> None:
    """Write the results of a job, waiting for its end where it has not come.

    Example: brainmets fetch JOB --output out/
    """
    console = Console(stderr=True)
    with errors_end_the_command(console, service, interrupted=lambda: leave_job(service, job_id)):
        segmentation = _follow(service, job_id, console)
        show_segmentation(segmentation, as_json=as_json, paths=segmentation.save(output))


def _follow(service: Service, job_id: str, console: Console) -> Segmentation:
    """Show how far a job is until it has ended, and return its result."""
    with StudyProgress(console) as progress, service.client() as client:
        # Once: watching it would try a service that is out of reach several times.
        client.job(job_id)
        return client.wait(job_id, on_progress=progress.changed)


@calls_service
def cancel(job_id: JobId, service: Service, as_json: AsJson = False) -> None:
    """Cancel a job; one that has ended stays as it is.

    Example: brainmets cancel JOB
    """
    with errors_end_the_command(Console(stderr=True), service), service.client() as client:
        job = client.cancel(job_id)
        words = "is" if job.state is JobState.CANCELLED else "had already"
        print_text(json.dumps(_row(job)) if as_json else f"{job.job_id} {words} {job.state}")


@calls_service
def jobs(
    service: Service,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Most jobs shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    Example: brainmets jobs --limit 5
    """
    with errors_end_the_command(Console(stderr=True), service), service.client() as client:
        listed = tuple(itertools.islice(client.jobs(page_size=min(limit, 500)), limit))
        if as_json:
            print_text(json.dumps([_row(job) for job in listed]))
        else:
            Console().print(job_table(listed))


def _row(job: Job) -> dict[str, str | int]:
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "stage": job.stage,
        "tiles_done": job.tiles_done,
        "tiles_total": job.tiles_total,
        "create_time": f"{job.create_time:%Y-%m-%dT%H:%M:%SZ}",
        "reason": "" if job.error is None else job.error.reason,
    }
