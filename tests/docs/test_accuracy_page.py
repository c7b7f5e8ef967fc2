"""Tests of docs/accuracy.md: its table of short trainings says what `make ablations` wrote."""

import json
from pathlib import Path

from brainmets.evaluation.comparison import render_compared

DOCS = Path(__file__).resolve().parents[2] / "docs"
ABLATIONS = DOCS / "figures" / "ablations.json"


def test_the_page_has_the_table_of_the_ablations() -> None:
    """Line by line."""
    assert render_compared(ABLATIONS) in (DOCS / "accuracy.md").read_text()


def test_the_page_has_the_dice_of_the_random_slices() -> None:
    """The one figure of the file that is not in the table."""
    (asked,) = (each["random_slices"] for each in json.loads(ABLATIONS.read_text()) if "random_slices" in each)
    assert f"{asked['slice_dice']:.3f}" in (DOCS / "accuracy.md").read_text()
