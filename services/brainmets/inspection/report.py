"""Owns how an inspection is shown: as tables for people, and as JSON for scripts.

Descriptions are shown here and nowhere else: they do not leave the machine on which the study lies.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from brainmets.client.printable import printable
from brainmets.client.whole_table import WholeTable
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.findings import Finding, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.series import SeriesAttributes, SeriesUse
from brainmets.imaging.series_evidence import ContrastMedium, read_evidence
from brainmets.inspection.study_inspection import Inspection

# Beyond it a series is called oblique: positioning by hand and rounding stay below.
OBLIQUE_DEG = 3.0
_PLANES = ("sagittal", "coronal", "axial")
_CONTRAST = {ContrastMedium.AFTER: "yes", ContrastMedium.BEFORE: "no", ContrastMedium.NOT_ESTABLISHED: "unknown"}
_STYLES = {Severity.WARNING: "yellow", Severity.SEVERE: "bold red"}
# What files that describe themselves in nothing are known by, for example their names: file_index to label.
Labels = Mapping[int, str]
# A series and, once the study could be read, what would become of it.
_Row = tuple[SeriesAttributes, SeriesUse | None]


def inspection_report(inspection: Inspection, labels: Labels) -> Group:
    """Lay an inspection out for a terminal."""
    parts: list[RenderableType] = [_series_table(inspection, labels)] if inspection.series else []
    parts += [
        Text.assemble((finding.code.upper(), _STYLES[finding.severity]), " ", finding.message)
        for finding in inspection.findings
    ]
    if inspection.refusal is None:
        parts.append(Text("The service would segment this study.", style="green"))
    else:
        refusal = _name_file(inspection.refusal, labels)
        parts.append(Text(f"The service would refuse this study: {refusal}", style="red"))
    return Group(*parts)


def _name_file(refusal: BrainmetsError, labels: Labels) -> str:
    """Return the refusal with the label of the file that it is about in place of its number."""
    number = refusal.file_index
    label = None if number is None else labels.get(number)
    return str(refusal) if label is None else str(refusal).replace(f"(file {number})", f"({printable(label)})")


def _rows(inspection: Inspection) -> Iterator[_Row]:
    uses = inspection.uses or (None,) * len(inspection.series)
    return zip(inspection.series, uses, strict=True)


def _series_table(inspection: Inspection, labels: Labels) -> Table:
    table = WholeTable(title="Series", title_justify="left", show_lines=True)
    table.add_column("No", justify="right", no_wrap=True)
    table.add_column("Series, and what becomes of it", ratio=1, overflow="fold")
    table.add_column("Geometry, mm", no_wrap=True)
    table.add_column("Acquisition, ms", no_wrap=True)
    for series, use in _rows(inspection):
        table.add_row(
            "" if series.series_number is None else str(series.series_number),
            Text("\n").join([Text(printable(_describe(series, labels)), style="bold"), _verdict(series, use)]),
            _geometry_cell(series),
            _acquisition_cell(series),
        )
    return table


def _describe(series: SeriesAttributes, labels: Labels) -> str:
    return series.description or labels.get(series.file_index, "")


def _geometry_cell(series: SeriesAttributes) -> str:
    if series.geometry is None:
        return "no volume"
    shape = " x ".join(str(size) for size in series.geometry.shape)
    spacing = " x ".join(f"{step:.2f}" for step in series.geometry.spacing_mm)
    return f"{_plane(series.geometry)}\n{shape}\n{spacing}"


def _verdict(series: SeriesAttributes, use: SeriesUse | None) -> Text:
    if use is None:
        return Text(_what_it_shows(series))
    return Text(use.message, style="green" if use.used else "dim")


def _what_it_shows(series: SeriesAttributes) -> str:
    """Return what can be said of a series alone, in a study of which none is chosen."""
    evidence = read_evidence(series)
    if evidence.unfit is not None:
        kind = f"It shows {evidence.shows}."
    elif evidence.weighting is not None:
        kind = f"It is {evidence.weighting}, {evidence.medium}."
    else:
        kind = "Nothing says what it shows."
    return kind if series.geometry else f"{kind} No volume: {series.fault}."


def _plane(geometry: Geometry) -> str:
    """Return the plane that the slices lie in, and whether they are tilted out of it."""
    normal = np.abs(np.cross(geometry.directions[:, 1], geometry.directions[:, 2]))
    tilt_deg = float(np.degrees(np.arccos(min(1.0, normal.max() / np.linalg.norm(normal)))))
    plane = _PLANES[int(normal.argmax())]
    return f"{plane}, {tilt_deg:.0f}° oblique" if tilt_deg > OBLIQUE_DEG else plane


def _acquisition_cell(series: SeriesAttributes) -> str:
    times_ms = {
        "TR": series.repetition_time_ms,
        "TE": series.echo_time_ms,
        "TI": series.inversion_time_ms,
    }
    told = [f"{name} {time_ms:g}" for name, time_ms in times_ms.items() if time_ms is not None]
    return "\n".join([", ".join(told[:2]), *told[2:], f"contrast {_CONTRAST[read_evidence(series).medium]}"]).strip()


def inspection_json(inspection: Inspection, labels: Labels) -> dict[str, Any]:  # Any: JSON's values
    """Return an inspection as JSON's values."""
    return {
        "readable": inspection.readable,
        "refusal": None if inspection.refusal is None else _refusal_json(inspection.refusal),
        "series": [_series_json(row, labels) for row in _rows(inspection)],
        "findings": [_finding_json(finding) for finding in inspection.findings],
    }


def _series_json(row: _Row, labels: Labels) -> dict[str, Any]:  # Any: as above
    series, use = row
    geometry = series.geometry
    return {
        "series_number": series.series_number,
        "file_index": series.file_index,
        "description": _describe(series, labels),
        "plane": geometry and _plane(geometry),
        "shape": geometry and geometry.shape,
        "spacing_mm": geometry and geometry.spacing_mm,
        "repetition_time_ms": series.repetition_time_ms,
        "echo_time_ms": series.echo_time_ms,
        "inversion_time_ms": series.inversion_time_ms,
        "contrast": _CONTRAST[read_evidence(series).medium],
        "sequence": use and use.sequence,
        "used": bool(use and use.used),
        "reason": use and use.reason,
        "message": use.message if use else _what_it_shows(series),
    }


def _finding_json(finding: Finding) -> dict[str, Any]:  # Any: as above
    return {
        "code": finding.code.upper(),
        "severity": finding.severity,
        "sequence": finding.sequence,
        "message": finding.message,
    }


def _refusal_json(refusal: BrainmetsError) -> dict[str, Any]:  # Any: as above
    return {
        "reason": refusal.reason,
        "message": refusal.message,
        "expected": refusal.expected,
        "got": refusal.got,
        "remedy": refusal.remedy,
        "file_index": refusal.file_index,
    }
