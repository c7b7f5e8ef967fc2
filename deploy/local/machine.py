"""Owns what the embedded stack asks of a machine, each as one sentence when it is not there.

Read by old Pythons too, which must be able to say that they are too old.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
# Triton's wheel is built against it: Debian 12, Ubuntu 22.04 and newer.
OLDEST_GLIBC = (2, 35)


def find_unfitness() -> str:
    """Return in one sentence why this machine cannot run the stack, or nothing."""
    system, processor = platform.system(), platform.machine()
    if (system, processor) != ("Linux", "x86_64"):
        return f"The embedded stack needs Linux on x86-64, this is {system} on {processor}."
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        version = platform.python_version()
        return f"Python 3.11 to 3.13 is needed, this is {version}; name another: make run PYTHON=python3.12."
    name, numbers = glibc_version()
    if name != "glibc" or numbers < OLDEST_GLIBC:
        found = f"{name or 'another C library'} {'.'.join(map(str, numbers))}".strip()
        return f"glibc 2.35 or newer is needed (Debian 12, Ubuntu 22.04 or newer), this is {found}."
    return ""


def find_shortage(folder: Path, needed_bytes: int) -> str:
    """Return in one sentence that a folder's disk has too little space, or nothing."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= needed_bytes:
        return ""
    needed_gb, free_gb = needed_bytes / 1e9, free_bytes / 1e9
    return f"{needed_gb:.1f} GB of disk space are needed in {folder}, {free_gb:.1f} GB are left."


def used_bytes(folder: Path) -> int:
    """Return what the files below a folder take of its disk; 0 when there is no such folder."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def glibc_version() -> tuple[str, tuple[int, ...]]:
    """Return the C library's name and version."""
    # Answers "glibc 2.36"; other C libraries do not know the name.
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except ValueError:
        return "", ()
    return name, tuple(int(part) for part in version.split(".") if part.isdecimal())
