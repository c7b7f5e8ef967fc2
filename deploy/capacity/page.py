"""Owns the tables of docs/capacity.md: made of a bench, and put between their marks."""

import re
from collections.abc import Iterable
from pathlib import Path

from capacity.measurement import Bench
from capacity.plan import plan, predict_drain

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
# A table stands between "<!-- NAME -->" and "<!-- end -->".
COMPARISON, PLANS = "predicted and measured", "what a rate needs"


def errors(bench: Bench) -> dict[int, float]:
    """Return the relative error of each rate that the bench measured, by number of queued studies."""
    return {
        queued: predict_drain(queued, bench).rate_per_hour / measured - 1.0
        for queued, measured in sorted(bench.rates_per_hour.items())
    }


def comparison_table(bench: Bench) -> str:
    """Return predicted beside measured rates."""
    rows = [
        (
            str(queued),
            f"{(1 + error) * bench.rates_per_hour[queued]:,.0f}",
            f"{bench.rates_per_hour[queued]:,.0f}",
            f"{error:+.1%}",
        )
        for queued, error in errors(bench).items()
    ]
    table = _markdown(("queued", "predicted, studies an hour", "measured", "error"), rows)
    return f"Measured on {bench.machine}.\n\n{table}"


def plan_table(bench: Bench, rates: Iterable[tuple[int, float]]) -> str:
    """Return what each rate needs: studies an hour, and how much faster than the bench's cores a GPU is."""
    rows = []
    for per_hour, speedup in rates:
        found = plan(per_hour, bench.times, gpu_speedup=speedup)
        parts = found.installation
        numbers = (parts.workers, parts.preprocessing, parts.tritons)
        rows.append((f"{per_hour:,}", f"{speedup:g} x", *map(str, numbers), f"{found.p95_s:.0f}"))
    headings = (
        "studies an hour", "Triton over two cores", "workers", "preprocessing pods", "Tritons", "p95 after the loss, s",
    )  # fmt: skip
    return _markdown(headings, rows)


def replaced(page: str, name: str, table: str) -> str:
    """Return a page with another table at a mark.

    Raises:
        ValueError: The page has no such mark.
    """
    begin, end = f"<!-- {name} -->\n\n", "\n\n<!-- end -->"
    changed, count = re.subn(rf"{begin}.*?{end}", lambda _: f"{begin}{table}{end}", page, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"expected a table between {begin!r} and {end!r}, got none")
    return changed


def _markdown(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(headings)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (*lines, tuple("---" for _ in lines[0]), *rows))
