"""What several commands of the command line take: a study, and how to segment it."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainmets.client.names import SEQUENCES
from brainmets.client.options import SegmentationOptions
from brainmets.client.study_files import find_study_files, list_names, names_left_alone

if TYPE_CHECKING:
    from rich.console import Console

    from brainmets.client.study_files import StudyFile

RESEARCH_USE_ONLY = "Research use only. Not for diagnosis."


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


_HIGHEST_PORT = 65535


def read_address(text: str) -> str:
    """Return an address of the command line or the environment.

    Raises:
        typer.BadParameter: It is not of the form host:port.
    """
    host, _, port = text.rpartition(":")
    if not (host and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) <= _HIGHEST_PORT):
        raise typer.BadParameter(f"expected host:port with a port from 1 to {_HIGHEST_PORT}, got {text}")
    return text


def read_output(folder: Path | None) -> Path | None:
    """Return a folder for results, if one was named; see `check_output`."""
    if folder is not None:
        check_output(folder)
    return folder


def check_output(folder: Path) -> None:
    """Check a folder for results, which need not be there yet; said before a study is sent, not after.

    Raises:
        typer.BadParameter: Nothing can be written there.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        got = "one that may not be written to" if existing.is_dir() else "a file"
        raise typer.BadParameter(
            f"expected a folder for results, got {got} at {existing}; name another", param_hint="--output"
        )


def read_threshold(probability: float | None) -> float | None:
    """Return a threshold as the service takes it.

    Raises:
        typer.BadParameter: It is not inside (0, 1).
    """
    if probability is None or 0.0 < probability < 1.0:
        return probability
    raise typer.BadParameter(f"expected a probability P, 0 < P < 1, got {probability:g}")


def read_peak(probability: float | None) -> float | None:
    """Return a lesion's smallest peak as the service takes it.

    Raises:
        typer.BadParameter: It is not in [0, 1).
    """
    if probability is None or 0.0 <= probability < 1.0:
        return probability
    raise typer.BadParameter(f"expected a probability P, 0 <= P < 1, got {probability:g}")


Study = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY",
        help="NIfTI file; folder with *-t1c.nii.gz and maybe *-t1n *-t2w *-t2f; DICOM file, folder or zip archive.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's identifier, as `submit` and `jobs` show it.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.", callback=read_output)
]
_DECISION = "What is decided"
Networks = Annotated[
    ModelName,
    typer.Option(
        "--model", metavar="NAME", help=f"Which networks decide: {', '.join(ModelName)}.", rich_help_panel=_DECISION
    ),
]
Point = Annotated[
    PointName | None,
    typer.Option(
        metavar="NAME",
        help="sensitive finds more and errs more, specific the other way; balanced unless said.",
        rich_help_panel=_DECISION,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Probability from which a voxel counts, 0 < P < 1.",
        callback=read_threshold,
        rich_help_panel=_DECISION,
    ),
]
MinVolume = Annotated[
    float | None,
    typer.Option(min=0.0, metavar="MM3", help="Smallest lesion kept, mm³.", rich_help_panel=_DECISION),
]
MinPeak = Annotated[
    float | None,
    typer.Option(
        "--min-peak",
        metavar="P",
        help="Probability that a lesion's most certain voxel must reach, 0 <= P < 1.",
        callback=read_peak,
        rich_help_panel=_DECISION,
    ),
]
Selections = Annotated[
    list[str] | None,
    typer.Option(
        "--series", metavar="SEQUENCE=NUMBER", help="SeriesNumber to take for a sequence, as t1c=5; may be repeated."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Segment although a severe finding speaks against the study.")]
Listen = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where this machine listens for it.", callback=read_address)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

# The contract's field has 32 bits.
_SELECTION = re.compile(r"(\w+)=(-?[0-9]{1,9})")


def read_study(study: Path, console: Console) -> tuple[StudyFile, ...]:
    """Return a study's files, and say which others of its folder look like some and are left alone.

    Raises:
        StudyPathError: The path holds nothing that can be sent.
    """
    files = find_study_files(study)
    if names := names_left_alone(study, files):
        text = f"Left alone, not named as NIfTI files of a sequence: {list_names(names)}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return files


def read_options(
    model: ModelName,
    operating_point: PointName | None,
    *,
    threshold: float | None,
    min_volume_mm3: float | None,
    min_peak: float | None,
    series: list[str] | None,
    force: bool,
) -> SegmentationOptions:
    """Return how to segment, as the command line says it.

    Raises:
        typer.BadParameter: A --series is not of the form t1c=5, or a sequence comes twice.
    """
    return SegmentationOptions(
        model=model.value,
        operating_point=None if operating_point is None else operating_point.value,
        threshold=threshold,
        min_lesion_volume_mm3=min_volume_mm3,
        min_peak_probability=min_peak,
        force=force,
        series=read_selections(series),
    )


def read_selections(texts: list[str] | None) -> dict[str, int]:
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
