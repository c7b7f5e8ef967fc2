"""Owns that one session of tests at a time installs a thing into build/."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from local.layout import BUILD


@contextmanager
def installing(name: str) -> Iterator[None]:
    """Look for what others may be installing, or install it, while the block runs."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
