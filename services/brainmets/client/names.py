"""The words by which the client names what the published contract enumerates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from brainmets.v1 import study_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence as Items

SEQUENCES = ("t1c", "t1n", "t2w", "t2f")


class _Enum(Protocol):
    """A protobuf enum, as far as its names go."""

    def items(self) -> Items[tuple[str, int]]: ...


def word_of(enum: _Enum, number: int, *, prefix: str) -> str:
    """Return an enum value's name in lower case, without the enum's prefix; `unknown` for one of a newer contract."""
    names = {value: name for name, value in enum.items()}
    return names.get(number, f"{prefix}UNKNOWN").removeprefix(prefix).lower()


def sequence_name(sequence: study_pb2.Sequence.ValueType) -> str:
    """Return the BraTS name of a sequence, or `unspecified`."""
    return word_of(study_pb2.Sequence, sequence, prefix="SEQUENCE_")


def sequence_number(name: str | None) -> study_pb2.Sequence.ValueType:
    """Return a sequence from its BraTS name; None is unspecified.

    Raises:
        ValueError: Unknown name.
    """
    if name is not None and name not in SEQUENCES:
        raise ValueError(f"expected a sequence of {', '.join(SEQUENCES)}, got {name}")
    return study_pb2.Sequence.Value(f"SEQUENCE_{(name or 'unspecified').upper()}")
