"""Owns when a process has ended whose parent may have ended before it."""

from contextlib import suppress

import psutil


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process computes no more; who waits for an orphan may take a while to do so."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True
