"""Owns the history of the bench: `make bench-record` adds a run to docs/figures/, and draws all.

The run becomes docs/figures/bench.json as well, of which docs/performance.md has its tables.
"""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.bench_tables import MOST_QUEUED, NAMES

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
HISTORY, DRAWING, LATEST = (FIGURES / name for name in ("bench_history.json", "bench_history.svg", "bench.json"))
KEPT = (
    "compute_s", "end_to_end_s", "overhead_s", "end_to_end_over_compute", "speedup_over_monai_usual",
    "speedup_over_monai_best",
)  # fmt: skip
# Lines from one run's first network to the next one's.
GAP = 4.2
# Okabe and Ito 2008: told apart by every eye.
COMPUTE_COLOUR, REST_COLOUR = "#56b4e9", "#e69f00"

Run = Mapping[str, Any]  # Any: what JSON holds


def shorten(report: Run, *, commit: str) -> Run:
    """Return what the history keeps of a report."""
    networks = {name: {key: row[key] for key in KEPT if key in row} for name, row in report["networks"].items()}
    full = next((row for row in report.get("load", ()) if row["queued"] == MOST_QUEUED), None)
    queued = {} if full is None else {
        "share_of_compute_64_queued": full["of_what_compute_allows"],
        "api_peak_mib_64_queued": full["peak_mib"]["gateway api"],
    }  # fmt: skip
    return {
        **{key: report[key] for key in ("date", "machine", "engine")}, "commit": commit, "networks": networks, **queued,
    }  # fmt: skip


def draw(history: Sequence[Run]) -> str:
    """Return an SVG: of each run and network, the networks' own time and what is beside it."""
    with mpl.rc_context({"svg.hashsalt": "brainmets", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8.0, 0.8 + 1.2 * len(history)), layout="constrained")
        axes = figure.subplots()
        for place, run in enumerate(history):
            top = -GAP * place
            axes.text(0.0, top + 0.6, _title(run), va="bottom", fontsize="small")
            rows = list(run["networks"].values())
            places = [top - line for line in range(len(rows))]
            compute, rest = [row["compute_s"] for row in rows], [row["overhead_s"] for row in rows]
            axes.barh(places, compute, color=COMPUTE_COLOUR, label="" if place else "the networks' own compute")
            axes.barh(places, rest, left=compute, color=REST_COLOUR, label="" if place else "beside it")
            for line, row in zip(places, rows, strict=True):
                axes.text(row["end_to_end_s"] + 0.03, line, f"{row['end_to_end_over_compute']:.2f}", va="center")
        lines = [-GAP * place - line for place, run in enumerate(history) for line in range(len(run["networks"]))]
        axes.set_yticks(lines, [NAMES[name] for run in history for name in run["networks"]])
        axes.set_xlabel("seconds from bytes in to files out; numbers: over compute")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside upper right", ncols=2)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _title(run: Run) -> str:
    return f"{run['date']}, {run['commit']}: {run['engine']}, {run['machine'].partition(' (')[0]}"


def main(report: Path) -> None:
    """Add a run and draw."""
    run = json.loads(report.read_text())
    if not run.keys() >= {"other_heads", "load"} or not any("monai" in row for row in run["networks"].values()):
        sys.exit(f"{report} is of a run that left parts out; expected one of `make bench STUDY=path` without ARGS.")
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()  # noqa: S607 -- whichever git there is
    history = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    history.append(shorten(run, commit=commit))
    HISTORY.write_text(json.dumps(history, indent=1) + "\n")
    DRAWING.write_text(draw(history))
    shutil.copyfile(report, LATEST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
