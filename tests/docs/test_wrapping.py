"""Tests of all documents: they can be read, and compared line by line, in a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WIDTH = 120


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_wrapped(path: Path) -> None:
    """At 120 characters, but for tables, code, and what has no place to break."""
    assert [line for line in find_prose(path) if len(line) > WIDTH and " " in line.lstrip(" -")[:WIDTH]] == []


def find_prose(path: Path) -> Iterator[str]:
    """Yield a document's lines outside of tables and of blocks of code."""
    in_code = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("|"):
            yield line
