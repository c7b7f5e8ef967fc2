"""Owns files of Debian and Ubuntu packages that a stock Python lacks, unpacked into build/ without root."""

from pathlib import Path

from local.commands import run_quietly
from local.errors import StackError
from local.layout import DEBIAN


def unpack_package(name: str) -> Path:
    """Download a package and unpack it; returns the folder that stands for /.

    Raises:
        StackError: This is neither Debian nor Ubuntu, or the package cannot be had.
    """
    downloads = DEBIAN / "downloads"
    (downloads / "partial").mkdir(parents=True, exist_ok=True)
    advice = f"Install {name} with your package manager, or name another Python: make run PYTHON=python3.12."
    try:
        run_quietly("apt-get", "download", name, cwd=downloads, advice=advice)
    except StackError:
        # A fresh machine has no package lists, and only root may write them in their usual place.
        own_lists = _own_lists()
        run_quietly("apt-get", *own_lists, "update", advice=advice)
        run_quietly("apt-get", *own_lists, "download", name, cwd=downloads, advice=advice)
    package = max(downloads.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
    run_quietly("dpkg", "-x", package, DEBIAN / "root", advice=advice)
    return DEBIAN / "root"


def _own_lists() -> tuple[str, ...]:
    lists = DEBIAN / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    return ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={DEBIAN / 'cache'}")
