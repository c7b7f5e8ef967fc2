"""The `brainmets` command line: segment, jobs, models."""

# ruff: noqa: FBT002 -- typer makes options of a function's defaults

from __future__ import annotations

import itertools
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf import json_format
from rich.console import Console

from brainmets.client.errors import ServiceError, StudyPathError
from brainmets.client.results import Segmentation, SegmentationOptions
from brainmets.client.study_files import find_study_files
from brainmets.client.sync import Client
from brainmets.client.terminal import StudyProgress, job_table, lesion_table, model_table

RESEARCH_USE_ONLY = "Research use only. Not for diagnosis."

app = typer.Typer(
    help=f"Segment brain metastases in MRI. {RESEARCH_USE_ONLY}", no_args_is_help=True, add_completion=True
)


class ExitCode:
    """What a script can tell the outcome by; 2 is a wrong command line, as everywhere."""

    OK = 0
    FAILED = 1
    BAD_STUDY = 3
    UNREACHED = 4
    INTERRUPTED = 130


class ModelName(StrEnum):
    """Networks a study can be segmented with."""

    MEAN = "mean"
    NESTED_UNET = "nested_unet"
    ATTENTION_UNET = "attention_unet"


Address = Annotated[str, typer.Option("--address", envvar="BRAINMETS_ADDRESS", help="host:port of the gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_BAD_STUDY_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}


@app.command()
def segment(
    study: Annotated[
        Path, typer.Argument(help="NIfTI file (T1c), or folder with *-t1c.nii.gz and maybe *-t1n *-t2w *-t2f.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("out"),
    model: Annotated[ModelName, typer.Option(help="Which networks decide.")] = ModelName.MEAN,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Probability from which a voxel counts.")
    ] = None,
    min_volume_mm3: Annotated[float | None, typer.Option(min=0.0, help="Smallest lesion kept, mm³.")] = None,
    address: Address = "127.0.0.1:8500",
    as_json: AsJson = False,
) -> None:
    """Segment one study and write mask, probability, report, lesion table and picture.

    Example: brainmets segment study/ --output out/
    """
    options = SegmentationOptions(model=model.value, threshold=threshold, min_lesion_volume_mm3=min_volume_mm3)
    progress_console = Console(stderr=True)
    with _errors_end_the_command(progress_console):
        files = find_study_files(study)
        total_bytes = sum(file.path.stat().st_size for file in files)
        with Client(address) as client, StudyProgress(progress_console, total_bytes=total_bytes) as progress:
            segmentation = client.segment(files, options, on_progress=progress.changed, on_sent=progress.sent)
        paths = segmentation.save(output)
    if as_json:
        typer.echo(json_format.MessageToJson(segmentation.report))
    else:
        _print_segmentation(segmentation, paths)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, help="Most jobs shown.")] = 20,
    address: Address = "127.0.0.1:8500",
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with _errors_end_the_command(Console(stderr=True)), Client(address) as client:
        listed = tuple(itertools.islice(client.jobs(page_size=min(limit, 500)), limit))
    if as_json:
        rows = [{"job_id": job.job_id, "state": job.state.value, "stage": job.stage} for job in listed]
        typer.echo(json.dumps(rows))
    else:
        Console().print(job_table(listed))


@app.command()
def models(address: Address = "127.0.0.1:8500", as_json: AsJson = False) -> None:
    """List the networks the service uses."""
    with _errors_end_the_command(Console(stderr=True)), Client(address) as client:
        listed = client.models()
    if as_json:
        rows = [
            {"model_name": model.model_name, "onnx_sha256": model.onnx_sha256, "ready": model.ready} for model in listed
        ]
        typer.echo(json.dumps(rows))
    else:
        Console().print(model_table(listed))


def _print_segmentation(segmentation: Segmentation, paths: tuple[Path, ...]) -> None:
    console = Console()
    if segmentation.lesions:
        console.print(lesion_table(segmentation))
    console.print(segmentation.statement)
    for finding in segmentation.findings:
        console.print(f"[yellow]{finding.code}[/yellow] {finding.message}")
    console.print(
        f"Sequences {', '.join(segmentation.sequences_used)} · models {', '.join(segmentation.models)} · "
        f"threshold {segmentation.threshold:g}"
    )
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


class _errors_end_the_command:  # noqa: N801 - reads as a sentence where it is used
    """Prints an expected error as one sentence and ends the command with its exit code."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case StudyPathError():
                self._end(str(error), ExitCode.BAD_STUDY)
            case ServiceError() if error.code in _BAD_STUDY_CODES:
                self._end(f"{error.message} [{error.reason}]", ExitCode.BAD_STUDY)
            case ServiceError() if error.is_transient:
                self._end(error.message, ExitCode.UNREACHED)
            case ServiceError():
                self._end(f"{error.message} [{error.reason}]", ExitCode.FAILED)
            case KeyboardInterrupt():
                self._end("interrupted; the job was cancelled", ExitCode.INTERRUPTED)
            case _:
                return

    def _end(self, sentence: str, code: int) -> None:
        self._console.print(f"brainmets: {sentence}", style="red", markup=False, highlight=False)
        raise typer.Exit(code)
