"""Measures two running stacks in turns (`make bench-stacks`): one version beside another.

The other one is a clone of its own, with ports of its own: `BRAINMETS_FIRST_PORT=9000 make up`. In turns, because a
machine's speed wanders, and that should be idle: the stack that is not asked waits.
"""

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from stopwatch import seconds_of
from study_bench import MODELS, WARM_UPS, describe_machine

from brainmets.client import Client
from load import NETWORKS, cpu_seconds, find_supervisor, uncached_options

ROUNDS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--addresses", nargs=2, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="studies of each stack with each choice of networks")
    arguments = parser.parse_args()
    table = Table(title=f"Two stacks in turns, medians of {arguments.rounds} studies", title_justify="left")
    for heading in ("networks", "stack"):
        table.add_column(heading, no_wrap=True)
    for heading in ("whole path s", "beside the first", "CPU s, services", "CPU s, networks"):
        table.add_column(heading, justify="right")
    for model in arguments.models:
        for row in compare(model, arguments.addresses, study=arguments.study, rounds=arguments.rounds):
            table.add_row(*row)
    Console().print(table, describe_machine(), sep="\n")


def compare(model: str, addresses: list[str], *, study: Path, rounds: int) -> list[tuple[str, ...]]:
    """Return a line of the table for each stack."""
    with ExitStack() as clients:
        asks = [_whole_path(clients.enter_context(Client(address)), model, study) for address in addresses]
        for ask in asks * WARM_UPS:
            ask()
        supervisors = [find_supervisor(address) for address in addresses]
        before_s = [cpu_seconds(supervisor) for supervisor in supervisors]
        turns = [[ask() for ask in asks] for _ in track(range(rounds), model, console=Console(stderr=True))]
        after_s = [cpu_seconds(supervisor) for supervisor in supervisors]
    medians_s = [statistics.median(each) for each in zip(*turns, strict=True)]
    rows = []
    for address, median_s, before, after in zip(addresses, medians_s, before_s, after_s, strict=True):
        cpu_s = {name: (spent_s - before[name]) / rounds for name, spent_s in after.items()}
        networks_s = cpu_s.pop(NETWORKS)
        figures = (median_s, median_s / medians_s[0], sum(cpu_s.values()), networks_s)
        rows.append((model, address, *(f"{figure:.2f}" for figure in figures)))
    return rows


def _whole_path(client: Client, model: str, study: Path) -> Callable[[], float]:
    """Return what sends a study, waits for its files, and returns how long that took, seconds."""
    options = uncached_options(model)
    return lambda: seconds_of(lambda: client.segment(study, next(options)))


if __name__ == "__main__":
    main()
