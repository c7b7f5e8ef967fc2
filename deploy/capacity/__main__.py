"""Compares the simulation with the bench and prints what studies an hour need (`make capacity`).

`--figures build/bench.json` takes a bench of this machine (`make bench`) in place of the committed one; `--write` puts
the tables into docs/capacity.md. Exit code 1: a prediction is off by more than `TOLERANCE`, and so is what would be
planned by it.
"""

import argparse
import itertools
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from capacity.measurement import FIGURES, Bench
from capacity.page import COMPARISON, PAGE, PLANS, comparison_table, errors, plan_table, replaced

RATES_PER_HOUR = (100, 500, 1000, 2000, 5000, 10_000)
# None has been measured: 1 is the bench's two cores in the GPU's place, the others show what would follow.
GPU_SPEEDUPS = (1.0, 5.0, 20.0)
TOLERANCE = 0.15


def main() -> int:
    """Print both tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--only-compare", action="store_true", help="leave the plan out")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/capacity.md")
    arguments = parser.parse_args()
    bench = Bench.load(arguments.figures)
    tables = {COMPARISON: comparison_table(bench)}
    if not arguments.only_compare:
        rates = tuple(itertools.product(RATES_PER_HOUR, GPU_SPEEDUPS))
        tables[PLANS] = plan_table(bench, track(rates, description="Simulating", console=Console(stderr=True)))
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        sys.stdout.write(f"{table}\n\n")
        page = replaced(page, name, table)
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if max(map(abs, errors(bench).values())) > TOLERANCE else 0


if __name__ == "__main__":
    sys.exit(main())
