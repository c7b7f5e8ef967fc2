"""Tests of docs/performance.md: it says and draws what the bench wrote."""

import json
from pathlib import Path

from benchmarks.bench_history import DRAWING, HISTORY, LATEST, draw, shorten
from benchmarks.bench_tables import render_engines, render_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def test_the_page_has_the_tables_of_the_latest_run() -> None:
    """Made by bench_tables.py, line by line."""
    page = PAGE.read_text()
    missing = [table for table in render_tables(json.loads(LATEST.read_text())) if table not in page]
    assert not missing


def test_the_page_has_the_table_of_the_engines() -> None:
    """The latest run's, and those that were measured beside it."""
    files = [LATEST, *sorted(LATEST.parent.glob("engines/*.json"))]
    assert render_engines(json.loads(file.read_text()) for file in files) in PAGE.read_text()


def test_the_drawing_is_that_of_the_history() -> None:
    """And its last run is the one that the page tells of."""
    history = json.loads(HISTORY.read_text())
    assert DRAWING.read_text() == draw(history)
    assert history[-1] == shorten(json.loads(LATEST.read_text()), commit=history[-1]["commit"])
    assert DRAWING.name in PAGE.read_text()


def test_the_page_on_kubernetes_has_its_rates() -> None:
    """From the slowest to the fastest of the latest run."""
    rates = [row["studies_per_hour"] for row in json.loads(LATEST.read_text())["load"]]
    text = " ".join(PAGE.with_name("kubernetes.md").read_text().split())
    assert f"{min(rates):,.0f} to {max(rates):,.0f} studies an hour" in text
