"""The results that an earlier run left in a folder, and whether they answer what is asked for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

from brainmets.client.errors import EarlierResultsError
from brainmets.client.names import sequence_name, sequence_number, word_of
from brainmets.client.results import REPORT_NAME
from brainmets.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brainmets.client.options import SegmentationOptions
    from brainmets.v1 import study_pb2


def read_earlier_report(folder: Path) -> result_pb2.SegmentationResult | None:
    """Return the report of the results that lie in a folder; None where there is no folder.

    Raises:
        EarlierResultsError: The folder has no report, or none that can be read.
    """
    if not folder.is_dir():
        return None
    try:
        report = json_format.Parse(
            (folder / REPORT_NAME).read_bytes(), result_pb2.SegmentationResult(), ignore_unknown_fields=True
        )
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise _unreadable(folder) from error
    # Each of our reports names its study. Another program's file of that name, which may read as an empty report, is
    # not ours to be replaced.
    if not report.input_sha256:
        raise _unreadable(folder)
    return report


def _unreadable(folder: Path) -> EarlierResultsError:
    message = f"expected results of an earlier run in {folder}, got a folder without a readable {REPORT_NAME}"
    return EarlierResultsError(message, reason="RESULTS_UNREADABLE")


def check_options(report: result_pb2.SegmentationResult, options: SegmentationOptions, *, folder: Path) -> None:
    """Refuse results of the same study that other options decided, as far as a report tells.

    Raises:
        EarlierResultsError: They are.
    """
    for name, asked, got in _differences(report, options):
        message = f"expected results of {name} {asked}, got those of {got} in {folder}; name another --output"
        raise EarlierResultsError(message, reason="OTHER_OPTIONS")


def name_point(report: result_pb2.SegmentationResult) -> str:
    """Return the operating point that decided, or `unspecified` where the caller gave figures."""
    return word_of(result_pb2.OperatingPoint, report.operating_point, prefix="OPERATING_POINT_")


def _differences(
    report: result_pb2.SegmentationResult, options: SegmentationOptions
) -> Iterator[tuple[str, object, object]]:
    """Yield what was asked for and what there is instead."""
    figures = {
        name: getattr(options, name)
        for name in ("threshold", "min_lesion_volume_mm3", "min_peak_probability")
        if getattr(options, name) is not None
    }
    for name, asked in figures.items():
        if (got := getattr(report, name)) != asked:
            yield name, f"{asked:g}", f"{got:g}"
    # Figures have no name; without them the service's default is balanced.
    point = "unspecified" if figures else options.operating_point or "balanced"
    if (got := name_point(report)) != point:
        yield "operating point", point, got
    models = tuple(model.model_name for model in report.models)
    if options.model != (models[0] if len(models) == 1 else "mean"):
        yield "model", options.model, " and ".join(models)
    # A study without a severe finding has the same result, forced or not.
    if not options.force and any(finding.severity == result_pb2.SEVERITY_SEVERE for finding in report.findings):
        yield "force", "off", "on"
    yield from _other_series(report, options)


def _other_series(
    report: result_pb2.SegmentationResult, options: SegmentationOptions
) -> Iterator[tuple[str, object, object]]:
    """Yield sequences whose series is another one than is asked for, or was selected where the service shall choose."""
    for sequence, number in options.series.items():
        taken = _series_numbers(report, sequence_number(sequence))
        if number not in taken:
            yield f"{sequence} series", number, " and ".join(map(str, taken)) or "none"
    for use in report.series:
        sequence = sequence_name(use.sequence)
        if use.reason == result_pb2.SERIES_REASON_ANOTHER_STATED and sequence not in options.series:
            yield f"{sequence} series", "that the service chooses", "one that was selected"


def _series_numbers(report: result_pb2.SegmentationResult, sequence: study_pb2.Sequence.ValueType) -> tuple[int, ...]:
    """Return the number of the series that the networks saw as a sequence; where they saw none, of all that could be.

    One that was selected stands there too where it made no volume, or the networks do not use its sequence.
    """
    uses = [use for use in report.series if use.sequence == sequence and use.HasField("series_number")]
    return tuple(use.series_number for use in [use for use in uses if use.used] or uses)
