"""Owns the tables of docs/performance.md, made from what `make bench` wrote: `make bench-record` prints them.

The first file is the latest run's, with the engine that this machine chooses; others are of runs with other engines.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]  # Any: what JSON holds
NAMES = {"nested_unet": "Nested U-Net", "attention_unet": "Attention U-Net", "mean": "mean of both (default)"}
PROCESSES = {
    "API": ("gateway api",),
    "worker": ("gateway worker",),
    "preprocessing": ("preprocessing",),
    "Triton with its backends": ("tritonserver", "triton_python_backend_stub"),
    "Redis": ("redis-server",),
}
MOST_QUEUED = 64
STAGES = ("sending", "queued", "preparing", "inferring", "measuring", "writing", "fetching")


def render_tables(report: Report) -> Iterator[str]:
    """Yield a report's Markdown tables: the path, its stages and CPU time, MONAI, other heads, many studies at once."""
    networks = report["networks"]
    yield _table(
        ("networks", "compute s", "whole path s", "rest s", "ratio"),
        (
            (NAMES[name], *_seconds(row, "compute_s", "end_to_end_s", "overhead_s", "end_to_end_over_compute"))
            for name, row in networks.items()
        ),
    )
    yield _table(
        ("seconds in", *STAGES),
        (
            (NAMES[name], *_seconds({**dict.fromkeys(STAGES, 0.0), **row["stages_s"]}, *STAGES))
            for name, row in networks.items()
        ),
    )
    yield _table(
        ("CPU seconds of", *PROCESSES),
        ((NAMES[name], *_by_process(row["cpu_s"], digits=2)) for name, row in networks.items()),
    )
    yield _table(
        (
            "networks",
            "whole path s",
            "usual s",
            "best s",
            "usual over whole path",
            "best over whole path",
            "decisions agree, Dice",
        ),
        (
            (
                NAMES[name],
                *_seconds(row["monai"], "beside_s", "usual_s", "best_s"),
                f"{row['speedup_over_monai_usual']:.1f}",
                f"{row['speedup_over_monai_best']:.1f}",
                f"{row['monai']['agreement_dice']:.4f}",
            )
            for name, row in networks.items()
            if "monai" in row
        ),
    )
    heads = report["other_heads"]
    yield _table(
        ("heads of other sizes", "first time s", "again s", "services' CPU s", *(f"{name}, MiB" for name in PROCESSES)),
        (
            (
                str(heads["heads"]),
                *_seconds(heads, "first_s", "again_s", "services_cpu_s"),
                *_by_process(heads["peak_mib"], digits=0),
            ),
        ),
    )
    yield _table(
        (
            "queued",
            "studies an hour",
            "of what compute allows",
            "networks' share of cores",
            *(f"{name}, MiB" for name in PROCESSES),
        ),
        (
            (
                str(row["queued"]),
                f"{row['studies_per_hour']:.0f}",
                f"{row['of_what_compute_allows']:.2f}",
                f"{row['networks_share_of_cores']:.2f}",
                *_by_process(row["peak_mib"], digits=0),
            )
            for row in report["load"]
        ),
    )


def render_engines(reports: Iterable[Report]) -> str:
    """Return the Markdown table of reports of one study with several engines: what of it is the networks' own."""
    return _table(
        ("engine", "networks", "compute s", "whole path s", "rest s", "ratio", f"{MOST_QUEUED} queued, of compute"),
        (
            (
                report["engine"],
                NAMES[name],
                *_seconds(row, "compute_s", "end_to_end_s", "overhead_s", "end_to_end_over_compute"),
                # Many studies at once are decided by both networks.
                f"{report['load'][-1]['of_what_compute_allows']:.2f}" if name == "mean" else "",
            )
            for report in reports
            for name, row in report["networks"].items()
        ),
    )


def _seconds(row: Mapping[str, float], *keys: str) -> Iterator[str]:
    return (f"{row[key]:.2f}" for key in keys)


def _by_process(figures: Mapping[str, float], *, digits: int) -> Iterator[str]:
    return (f"{sum(figures[part] for part in parts):.{digits}f}" for parts in PROCESSES.values())


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    headings = tuple(headings)
    lines = (headings, ("---",) * len(headings), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    latest, *others = (json.loads(Path(name).read_text()) for name in sys.argv[1:])
    sys.stdout.write("\n\n".join([*render_tables(latest), render_engines([latest, *others])]) + "\n")
