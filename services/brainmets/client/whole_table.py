"""A table of which nothing is cut, however narrow the terminal is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Column

# Narrower, a sentence that is folded is not read any more, and most reasons of failure are torn: MALFORMED_FILE.
_LEAST_FOLDED_COLUMNS = 14


class WholeTable(Table):
    """Rich's table; where the terminal is too narrow for it, its rows as text, each value behind its heading.

    Rich cuts cells that do not fit, of a measurement perhaps its last digits. Cells are text.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what is shown."""
        # A border before each column and one behind the last; a space on either side of a cell.
        if 1 + sum(3 + _least_width(column) for column in self.columns) <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._rows_as_text()

    def _rows_as_text(self) -> Iterator[Text]:
        if self.title:
            yield Text(str(self.title), style="table.title")
        headings = [_in_one_line(column.header) for column in self.columns]
        for row, cells in zip(self.rows, zip(*(column.cells for column in self.columns), strict=True), strict=True):
            values = (_in_one_line(cell, between=", ") for cell in cells)
            told = (f"{heading}: {value}" for heading, value in zip(headings, values, strict=True) if value)
            yield Text(" · ".join(told), style=row.style or "", overflow="fold")


def _least_width(column: Column) -> int:
    """Return the width, in columns of the terminal, below which something in a column would be cut or torn."""
    widest = max(cell_len(line) for text in (column.header, *column.cells) for line in str(text).split("\n"))
    return widest if column.no_wrap else min(widest, _LEAST_FOLDED_COLUMNS)


def _in_one_line(text: object, *, between: str = " ") -> str:
    return between.join(line for line in str(text).split("\n") if line)
