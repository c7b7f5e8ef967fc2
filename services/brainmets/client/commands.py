"""The `brainmets` command line: segment, inspect, jobs, models."""

# ruff: noqa: FBT002 -- typer makes options of a function's defaults

from __future__ import annotations

import itertools
import json
import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from rich.console import Console

from brainmets.client.endings import ExitCode, errors_end_the_command
from brainmets.client.installed_commands import installed_command
from brainmets.client.names import SEQUENCES
from brainmets.client.options import SegmentationOptions
from brainmets.client.study_files import find_study_files
from brainmets.client.sync import Client
from brainmets.client.terminal import (
    StudyProgress,
    job_table,
    model_report,
    segmentation_report,
)

RESEARCH_USE_ONLY = "Research use only. Not for diagnosis."

app = typer.Typer(
    help=f"Segment brain metastases in MRI. {RESEARCH_USE_ONLY}", no_args_is_help=True, add_completion=True
)


class ModelName(StrEnum):
    """Networks a study can be segmented with."""

    MEAN = "mean"
    NESTED_UNET = "nested_unet"
    ATTENTION_UNET = "attention_unet"


class PointName(StrEnum):
    """What a decision can lean to."""

    SENSITIVE = "sensitive"
    BALANCED = "balanced"
    SPECIFIC = "specific"


Address = Annotated[str, typer.Option("--address", envvar="BRAINMETS_ADDRESS", help="host:port of the gateway.")]
Study = Annotated[
    Path,
    typer.Argument(
        help="NIfTI file; folder with *-t1c.nii.gz and maybe *-t1n *-t2w *-t2f; DICOM file, folder or zip archive."
    ),
]
Selections = Annotated[
    list[str] | None,
    typer.Option(
        "--series", metavar="SEQUENCE=NUMBER", help="SeriesNumber to take for a sequence, as t1c=5; may be repeated."
    ),
]
# The contract's field has 32 bits.
_SELECTION = re.compile(r"(\w+)=(-?[0-9]{1,9})")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def segment(  # noqa: PLR0913, PLR0917 -- the options of a command line
    study: Study,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("out"),
    model: Annotated[ModelName, typer.Option(help="Which networks decide.")] = ModelName.MEAN,
    operating_point: Annotated[PointName | None, typer.Option(help="What the decision leans to; balanced.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Probability from which a voxel counts.")
    ] = None,
    min_volume_mm3: Annotated[float | None, typer.Option(min=0.0, help="Smallest lesion kept, mm³.")] = None,
    series: Selections = None,
    force: Annotated[
        bool, typer.Option("--force", help="Segment although a severe finding speaks against the study.")
    ] = False,
    address: Address = "127.0.0.1:8500",
    as_json: AsJson = False,
) -> None:
    """Segment one study and write mask, probability, report, lesion table and picture.

    Example: brainmets segment study/ --output out/
    """
    options = SegmentationOptions(
        model=model.value,
        operating_point=None if operating_point is None else operating_point.value,
        threshold=threshold,
        min_lesion_volume_mm3=min_volume_mm3,
        force=force,
        series=_selections(series),
    )
    progress_console = Console(stderr=True)
    with errors_end_the_command(progress_console):
        files = find_study_files(study)
        total_bytes = sum(file.size_bytes for file in files)
        with Client(address) as client, StudyProgress(progress_console, total_bytes=total_bytes) as progress:
            segmentation = client.segment(files, options, on_progress=progress.changed, on_sent=progress.sent)
        paths = segmentation.save(output)
    if as_json:
        typer.echo(json_format.MessageToJson(segmentation.report))
    else:
        console = Console()
        console.print(segmentation_report(segmentation))
        for path in paths:
            console.print(f"  {path}", highlight=False, soft_wrap=True)
        console.print(f"[bold]{RESEARCH_USE_ONLY}[/bold]")


@app.command()
def inspect(study: Study, series: Selections = None, as_json: AsJson = False) -> None:
    """Show what of a study would be read, and why, without sending anything.

    Example: brainmets inspect study/
    """
    selections = _selections(series)
    with errors_end_the_command(Console(stderr=True)):
        readable = installed_command("inspect")(study, selections, as_json=as_json)
    raise typer.Exit(ExitCode.OK if readable else ExitCode.BAD_STUDY)


def _selections(texts: list[str] | None) -> dict[str, int]:
    """Read --series options.

    Raises:
        typer.BadParameter: One is not of the form t1c=5, or a sequence comes twice.
    """
    selections: dict[str, int] = {}
    for text in texts or ():
        match = _SELECTION.fullmatch(text)
        sequence, number = match.groups() if match else ("", "0")
        if sequence not in SEQUENCES or sequence in selections:
            raise typer.BadParameter(
                f"expected one of {', '.join(SEQUENCES)}, each once, with a number, as t1c=5; got {text}",
                param_hint="--series",
            )
        selections[sequence] = int(number)
    return selections


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, help="Most jobs shown.")] = 20,
    address: Address = "127.0.0.1:8500",
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with errors_end_the_command(Console(stderr=True)), Client(address) as client:
        listed = tuple(itertools.islice(client.jobs(page_size=min(limit, 500)), limit))
    if as_json:
        rows = [{"job_id": job.job_id, "state": job.state.value, "stage": job.stage} for job in listed]
        typer.echo(json.dumps(rows))
    else:
        Console().print(job_table(listed))


@app.command()
def models(
    card: Annotated[str | None, typer.Option(help="Print the model card of this network, JSON, instead.")] = None,
    address: Address = "127.0.0.1:8500",
    as_json: AsJson = False,
) -> None:
    """List the networks the service uses.

    Example: brainmets models --card nested_unet
    """
    with errors_end_the_command(Console(stderr=True)), Client(address) as client:
        if card is not None:
            typer.echo(json.dumps(client.model_card(card), indent=2, ensure_ascii=False))
            return
        listed = client.models()
    if as_json:
        typer.echo(json.dumps([asdict(model) for model in listed]))
    else:
        Console().print(model_report(listed))
