"""Compares the simulation with the bench and prints what studies an hour need (`make capacity`).

`--figures build/bench.json` takes a bench of this machine (`make bench`) in place of the committed one. Exit code 1:
the prediction is off by more than `TOLERANCE`, and so is what would be planned by it.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from capacity.measurement import FIGURES, Bench
from capacity.plan import plan, predict_drain

RATES_PER_HOUR = (100, 500, 1000, 2000, 5000, 10_000)
# None has been measured: 1 is the bench's two cores in the GPU's place, the others show what would follow.
GPU_SPEEDUPS = (1.0, 5.0, 20.0)
TOLERANCE = 0.15
# Those that the bench queues beyond these mostly measure how fast its one client sends.
COMPARED = (1, 8)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--only-compare", action="store_true", help="leave the plan out")
    arguments = parser.parse_args()
    bench = Bench.load(arguments.figures)
    console = Console()
    console.print(f"Measured on: {bench.machine}", soft_wrap=True)
    worst = show_comparison(bench, console)
    if not arguments.only_compare:
        show_plans(bench, console)
    return 1 if worst > TOLERANCE else 0


def show_comparison(bench: Bench, console: Console) -> float:
    """Print predicted beside measured rates; return the largest relative error."""
    table = Table(title="Studies an hour on one of each", title_justify="left")
    for heading in ("queued", "predicted", "measured", "error"):
        table.add_column(heading, justify="right")
    errors = []
    for queued in COMPARED:
        predicted, measured = predict_drain(queued, bench.times).rate_per_hour, bench.rates_per_hour[queued]
        errors.append(predicted / measured - 1.0)
        table.add_row(str(queued), f"{predicted:.0f}", f"{measured:.0f}", f"{errors[-1]:+.1%}")
    console.print(table)
    return max(map(abs, errors))


def show_plans(bench: Bench, console: Console) -> None:
    """Print what each rate needs."""
    table = Table(title="For 95 % within 5 minutes although a zone of two is lost", title_justify="left")
    for heading in ("studies an hour", "GPU over two cores", "workers", "preprocessing", "Tritons", "p95 s"):
        table.add_column(heading, justify="right")
    for per_hour in track(RATES_PER_HOUR, description="Simulating", console=Console(stderr=True)):
        for speedup in GPU_SPEEDUPS:
            found = plan(per_hour, bench.times, gpu_speedup=speedup)
            parts = found.installation
            numbers = (str(parts.workers), str(parts.preprocessing), str(parts.tritons), f"{found.p95_s:.0f}")
            table.add_row(f"{per_hour:,}", f"{speedup:g} x", *numbers)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
