"""Owns the report: `evaluation.json`, one entry for each data set, and the table of it."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

NOTICE = "Research use only. Not for diagnosis."


def save_data_set(path: Path, name: str, entry: dict[str, object]) -> None:
    """Put a data set's figures into a report in place of what it said about that data set before."""
    report = load_report(path)
    report["notice"] = NOTICE
    report.setdefault("data_sets", {})[name] = describe_machine() | entry
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def describe_machine() -> dict[str, object]:
    """Return the date and the machine, to stand beside figures."""
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def load_report(path: Path) -> dict[str, Any]:  # Any: what JSON holds
    """Return a report, empty where there is none yet."""
    report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return report


def print_report(report: dict[str, Any], console: Console) -> None:  # Any: what JSON holds
    """Print one table for each data set, with its split in the title."""
    for name, entry in report["data_sets"].items():
        table = Table(title=f"{name} · {entry['split']} · {entry['operating_point']}", title_justify="left")
        table.add_column("network", no_wrap=True)
        for column in ("Dice\npatient", "Dice\nslice", "Dice\nlesion", "HD95\nmm"):
            table.add_column(column, justify="right")
        table.add_column("found, by\ndiameter", no_wrap=True)
        for column in ("false\na study", "ECE\n"):
            table.add_column(column, justify="right")
        for network, figures in entry["networks"].items():
            table.add_row(network, *_cells(figures))
        console.print(table)
    console.print(f"[dim]Intervals of 95 % (bootstrap over studies) are in the JSON. {NOTICE}[/dim]")


def _cells(figures: dict[str, Any]) -> list[str]:  # Any: what JSON holds
    found = "\n".join(
        f"{size} mm {counts['found']}/{counts['lesions']}"
        for size, counts in figures["sensitivity_by_diameter_mm"].items()
        if counts["lesions"]
    )
    means = [figures[key]["value"] for key in ("patient_dice", "slice_dice", "lesionwise_dice")]
    return [
        *(f"{mean:.3f}" for mean in means),
        f"{figures['hd95_mm']['value']:.1f}",
        found,
        f"{figures['false_positives_per_study']['value']:.2f}",
        _or_dash(figures["calibration"]["expected_calibration_error"]),
    ]


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
