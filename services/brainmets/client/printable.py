"""Text of others, as a terminal may be given it."""

from __future__ import annotations


def printable(text: object) -> str:
    """Return a text, such as a file's name, without what could command a terminal."""
    return "".join(character if character.isprintable() else " " for character in str(text))
