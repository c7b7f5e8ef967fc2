"""Owns the table of the shipped networks' figures, as docs/accuracy.md has it: made from their model cards."""

from collections.abc import Mapping
from typing import Any

Card = Mapping[str, Any]  # Any: what JSON holds
MM3_PER_ML = 1000.0
COLUMNS = (
    "data, split", "network", "patient Dice", "slice Dice", "lesion-wise Dice", "HD95 mm", "found, by diameter in mm",
    "false a study", "largest false, mL", "ECE",
)  # fmt: skip


def render_table(cards: Mapping[str, Card]) -> str:
    """Return the figures of every network and of their mean as a Markdown table, data set by data set.

    Args:
        cards: The networks' model cards, by name; they name the same data sets.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    first = next(iter(cards.values()))
    for place, metric in enumerate(first["metrics"]):
        rows = [(name, card["metrics"][place]["alone"]) for name, card in cards.items()]
        rows.append(("**mean**", metric["mean_of_both"]))
        title = f"{metric['data_set']} ({metric['split']})"
        for line, (name, figures) in enumerate(rows):
            lines.append(f"| {'' if line else title} | {name} | {' | '.join(_cells(figures))} |")
    return "\n".join(lines)


def _cells(figures: Card) -> list[str]:
    found = ", ".join(
        f"{size}: {counts['found']}/{counts['lesions']}"
        for size, counts in figures["sensitivity_by_diameter_mm"].items()
        if counts["lesions"]
    )
    return [
        *(_number(figures[key], digits=3) for key in ("patient_dice", "slice_dice", "lesionwise_dice")),
        _number(figures["hd95_mm"], digits=1),
        found,
        _number(figures["false_positives_per_study"], digits=1),
        f"{figures['largest_false_positive_mm3'] / MM3_PER_ML:.2f}",
        f"{figures['expected_calibration_error']:.3f}",
    ]


def _number(figure: Card, *, digits: int) -> str:
    """Return a figure, with its interval where there is one."""
    value = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return value
    return f"{value} ({figure['low']:.{digits}f}-{figure['high']:.{digits}f})"
