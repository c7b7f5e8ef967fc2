"""Owns set-up steps: each runs once, and again when what it depends on has changed."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of set-up.

    Attributes:
        name: Its stamp's file name.
        words: What a person reads while it runs.
        depends_on: Texts; the step runs again when one differs from last time's.
        product: What it leaves; the step runs again when that is gone.
        run: Does it.
    """

    name: str
    words: str
    depends_on: tuple[str, ...]
    product: Path
    run: Callable[[], None]


def find_missing(steps: tuple[Step, ...], stamps: Path) -> tuple[Step, ...]:
    """Return the steps that are not done."""
    return tuple(step for step in steps if not is_done(step, stamps))


def is_done(step: Step, stamps: Path) -> bool:
    """Return whether a step was run, on what it depends on now, and has left its product."""
    stamp = stamps / step.name
    return step.product.exists() and stamp.exists() and stamp.read_text() == _digest(step)


def run_steps(steps: tuple[Step, ...], stamps: Path) -> None:
    """Run steps in order, and tell how long each took."""
    stamps.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {step.words} ...", end=" ", flush=True)
        began_s = time.monotonic()
        (stamps / step.name).unlink(missing_ok=True)
        step.run()
        (stamps / step.name).write_text(_digest(step))
        print(f"{time.monotonic() - began_s:.0f} s", flush=True)


def _digest(step: Step) -> str:
    return hashlib.sha256("\0".join(step.depends_on).encode()).hexdigest()
