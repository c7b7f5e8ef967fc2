"""Owns a progress bar that only appears when something takes long."""

import threading
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

# Until then an answer is awaited without asking how long it will be.
APPEARS_AFTER_S = 2.0


class SlowProgress:
    """A bar of steps. Use as a context manager; it leaves nothing on the terminal."""

    def __init__(self, console: Console, *, steps: int, appears_after_s: float = APPEARS_AFTER_S) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description:<18}"), BarColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=steps)
        self._begun = 0
        self._timer = threading.Timer(appears_after_s, self._progress.start)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._progress.stop()

    def begin(self, step: str) -> None:
        """Show the next step."""
        self._progress.update(self._task, description=step, completed=self._begun)
        self._begun += 1
