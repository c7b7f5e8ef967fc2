"""Owns the entry points that pyproject.toml declares, as if they were installed, whatever is installed here."""

import os
import tomllib
from pathlib import Path

import pytest

from brainmets.client.installed_commands import COMMANDS_GROUP

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def install_commands(folder: Path) -> Path:
    """Write them into a folder, made when absent, and return it: on Python's path our commands are found."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][COMMANDS_GROUP]
    package = folder / "brainmets_commands-1.dist-info"
    package.mkdir(parents=True)
    package.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: brainmets-commands\nVersion: 1\n")
    lines = [f"[{COMMANDS_GROUP}]", *(f"{name} = {value}" for name, value in declared.items())]
    package.joinpath("entry_points.txt").write_text("\n".join(lines))
    return folder


def find_commands(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have our commands found here, and in what is started from here; the folder is made for them."""
    install_commands(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", ""))))
