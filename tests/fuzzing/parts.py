"""Owns inputs of several parts, a stream of messages or the files of a study, as the one string that is fuzzed."""

from collections.abc import Iterable
from struct import Struct

_LENGTH = Struct("<I")


def join_parts(parts: Iterable[bytes]) -> bytes:
    """Return parts one after the other, each behind its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split_parts(content: bytes) -> list[bytes]:
    """Return the parts of any bytes; the last one ends with them at the latest."""
    parts: list[bytes] = []
    position = 0
    while position + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, position)
        position += _LENGTH.size
        parts.append(content[position : position + length])
        position += length
    return parts
