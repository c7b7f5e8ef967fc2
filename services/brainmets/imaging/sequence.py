"""Owns the names of MRI sequences."""

from enum import StrEnum


class Sequence(StrEnum):
    """What a series shows, by its BraTS name."""

    T1C = "t1c"
    T1N = "t1n"
    T2W = "t2w"
    T2F = "t2f"
