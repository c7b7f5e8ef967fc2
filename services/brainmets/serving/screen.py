"""Owns how a person sees what services say: each line after the time and its service's name."""

import time
from collections import deque
from collections.abc import Iterable

import typer

# What is shown of what the services said before one of them ended.
_LAST_LINES = 20
_COLOURS = ("cyan", "yellow", "green")


class Screen:
    """The terminal, or whatever takes standard output.

    Lines can be kept back: till all are ready the services say at length that others are not there yet.
    """

    def __init__(self, names: Iterable[str], *, keeps_back: bool) -> None:
        self._colours = dict(zip(names, _COLOURS, strict=False))
        self._width = max(map(len, self._colours))
        self._keeps_back = keeps_back
        self._kept: deque[str] = deque(maxlen=_LAST_LINES)

    def show(self, name: str, line: str) -> None:
        """Take a line, of a service or of whoever runs them."""
        prefix = typer.style(f"{time.strftime('%H:%M:%S')} {name:{self._width}} | ", fg=self._colours.get(name))
        if self._keeps_back:
            self._kept.append(prefix + line)
        else:
            typer.echo(prefix + line)

    def open(self) -> None:
        """Show lines from now on; those that were kept back are forgotten."""
        self._keeps_back = False
        self._kept.clear()

    def show_kept(self) -> None:
        """Show the last lines of those that were kept back."""
        for line in self._kept:
            typer.echo(line)
