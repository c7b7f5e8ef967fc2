"""The lesion table is read by spreadsheets: a header with units, and a row a lesion."""

import csv
import io

from brainmets.formats.lesion_table import COLUMNS, write_lesion_table
from imaging_cases import box_at, make_mask
from result_cases import decided_lesions

LESIONS = decided_lesions(make_mask((20, 30, 40), box_at((2, 3, 4), (6, 7, 8)), box_at((12, 20, 30), (2, 3, 4))))


def rows_of(table: bytes) -> list[dict[str, str]]:
    """Return the rows as a statistics program reads them."""
    return list(csv.DictReader(io.StringIO(table.decode(), newline="")))


def test_there_is_a_row_a_lesion_largest_first() -> None:
    """Numbers are those of the instance map."""
    assert [row["lesion"] for row in rows_of(write_lesion_table(LESIONS))] == ["1", "2"]


def test_measures_are_the_lesions() -> None:
    """A block of 6 by 7 by 8 mm has its volume."""
    assert float(rows_of(write_lesion_table(LESIONS))[0]["volume_mm3"]) == 6 * 7 * 8


def test_the_box_is_inclusive() -> None:
    """The last voxel named is part of the lesion."""
    row = rows_of(write_lesion_table(LESIONS))[0]
    assert (row["first_slice"], row["last_slice"]) == ("2", "7")
    assert (row["first_column"], row["last_column"]) == ("4", "11")


def test_every_row_says_what_it_may_be_used_for() -> None:
    """A row that was copied elsewhere says it too."""
    assert all("Not for diagnosis" in row["intended_use"] for row in rows_of(write_lesion_table(LESIONS)))


def test_no_lesion_is_a_table_too() -> None:
    """The header stands alone."""
    assert write_lesion_table(()).decode() == ",".join(COLUMNS) + "\r\n"
