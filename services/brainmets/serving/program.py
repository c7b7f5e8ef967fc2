"""Owns what a process is started with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run.

    Attributes:
        name: What people know its process by.
        words: Its command line.
        environment: All of it.
        log: The file that takes what it says; without one that is passed on.
    """

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None = None
