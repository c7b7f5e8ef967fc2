"""A bar that appears when it is worth it."""

import io
import time

from rich.console import Console

from brainmets.inspection.slow_progress import SlowProgress


def shown(*, takes_s: float, appears_after_s: float) -> str:
    """Return what a terminal gets while something takes a while."""
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80)
    with SlowProgress(console, steps=2, appears_after_s=appears_after_s) as progress:
        progress.begin("First step")
        give_up_s = time.monotonic() + takes_s
        while "First step" not in terminal.getvalue() and time.monotonic() < give_up_s:
            time.sleep(0.01)
    return terminal.getvalue()


def test_what_is_quick_is_quiet() -> None:
    """Nothing flickers."""
    assert "First step" not in shown(takes_s=0.0, appears_after_s=3600.0)


def test_what_is_slow_shows_its_step() -> None:
    """And how many are done."""
    assert "First step" in shown(takes_s=30.0, appears_after_s=0.05)
