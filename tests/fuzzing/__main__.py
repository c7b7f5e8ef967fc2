"""Fuzzes all that reads what others send (`make fuzz`), prints a table and writes build/fuzz.json."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fuzzing.campaign import Budget, Campaign, Outcome
from fuzzing.targets import TARGETS, Target

BUILD = Path(__file__).resolve().parents[2] / "build"
DEFAULT_SECONDS = 300.0
_WIDTH = 120


def main() -> int:
    """Fuzz as the command line says; 1 when something was found."""
    arguments = _parse()
    targets = [target for target in TARGETS if not arguments.target or target.name in arguments.target]
    campaign = Campaign(BUILD / "fuzz", seed=arguments.seed)
    outcomes: list[Outcome] = []
    for target in targets:
        if campaign.interrupted:
            break
        with _progress(target) as show:
            outcomes.append(campaign.fuzz(target, _budget(target, targets, arguments), on_progress=show))
    # Where nobody watches, the table is as wide as it needs to be.
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(_table(outcomes))
    (BUILD / "fuzz.json").write_text(json.dumps(_report(outcomes, seed=arguments.seed), indent=1) + "\n")
    return 1 if any(outcome.findings for outcome in outcomes) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long, all targets together")
    parser.add_argument("--runs", type=int, default=0, help="how many inputs, all targets together")
    parser.add_argument("--target", action="append", help="a target; may be repeated; all when left out")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's chance")
    return parser.parse_args()


def _budget(target: Target, targets: list[Target], arguments: argparse.Namespace) -> Budget:
    """Return a target's part: of runs by its share, because some cost a hundred times others; of time the same."""
    if arguments.runs:
        shares = sum(each.share for each in targets)
        return Budget(max(1, round(arguments.runs * target.share / shares)), 0.0)
    return Budget(0, (arguments.seconds or DEFAULT_SECONDS) / len(targets))


@contextmanager
def _progress(target: Target) -> Iterator[object]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, transient=True, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(target.name)

        def show(outcome: Outcome) -> None:
            text = f"{target.name}: {outcome.runs:,} inputs, {len(outcome.findings)} findings"
            progress.update(task, description=text)

        yield show


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("target", caption=f"{sum(outcome.runs for outcome in outcomes):,} inputs in all")
    for name in ("inputs", "inputs/s", "coverage", "features", "corpus", "peak MiB", "growth MiB", "findings"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        table.add_row(
            outcome.target,
            f"{outcome.runs:,}",
            f"{outcome.runs / max(outcome.seconds, 1e-3):,.0f}",
            f"{outcome.coverage:,}",
            f"{outcome.features:,}",
            f"{outcome.corpus:,}",
            f"{outcome.peak_mib:,}",
            f"{outcome.growth_mib:,}",
            f"{len(outcome.findings)}",
        )
    return table


def _report(outcomes: list[Outcome], *, seed: int) -> dict[str, object]:
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "atheris": version("atheris"),
        "seed": seed,
        "runs": sum(outcome.runs for outcome in outcomes),
        "targets": [
            {
                "target": outcome.target,
                "runs": outcome.runs,
                "seconds": round(outcome.seconds, 1),
                "coverage": outcome.coverage,
                "features": outcome.features,
                "corpus": outcome.corpus,
                "peak_mib": outcome.peak_mib,
                "growth_mib": outcome.growth_mib,
                "findings": outcome.findings,
            }
            for outcome in outcomes
        ],
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    sys.exit(main())
