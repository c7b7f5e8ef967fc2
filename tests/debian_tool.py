"""Owns how tests find a program of a Debian package: on PATH, else unpacked into build/ as the stack's own are."""

import shutil

import pytest

from install_lock import installing
from local.debian_packages import unpack_package
from local.errors import StackError
from local.layout import DEBIAN


def find_debian_tool(name: str, *, package: str, folder: str = "bin") -> str:
    """Return a program's path; the test is skipped where the package cannot be had."""
    unpacked = DEBIAN / "root" / "usr" / folder / name
    with installing("debian"):
        found = shutil.which(name) or shutil.which(unpacked)
        if found is not None:
            return found
        try:
            return str(unpack_package(package) / "usr" / folder / name)
        except StackError as error:
            pytest.skip(f"needs {name} (Debian package {package}): {error}")
