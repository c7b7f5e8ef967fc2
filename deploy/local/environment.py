"""Owns build/venv, the Python environment of everything that runs here."""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

from local.commands import run_quietly
from local.debian_packages import unpack_package
from local.errors import StackError
from local.layout import PYTHON, PYTHON_LIBRARY, ROOT, VENV

CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = ROOT / "pyproject.toml"
_CONNECTION = "Is there a connection to a package index? See build/logs/setup.log."
# Debian's own; any other prefix has its own library or none, and Debian's would not fit it.
_DISTRIBUTION_PREFIX = "/usr"
_SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreter_words() -> tuple[str, str, str]:
    """Return what an environment depends on: the interpreter, its version, and where the repository lies."""
    return sys.version, str(Path(sys._base_executable).resolve()), str(ROOT)  # type: ignore[attr-defined]  # noqa: SLF001 -- venv itself uses it; sys.executable is the environment's own inside one


def remove_environment() -> None:
    """Take build/venv away, where there is one."""
    shutil.rmtree(VENV, ignore_errors=True)


def create_environment() -> None:
    """Make build/venv with pip, also where Python came without ensurepip.

    Raises:
        StackError: It cannot be made.
    """
    remove_environment()
    bundled_pip = importlib.util.find_spec("ensurepip")
    # Without an origin it is but an empty folder.
    if bundled_pip is not None and bundled_pip.origin:
        run_quietly(sys.executable, "-m", "venv", VENV, advice="See build/logs/setup.log.")
        return
    run_quietly(sys.executable, "-m", "venv", "--without-pip", VENV, advice="See build/logs/setup.log.")
    root = unpack_package("python3-pip-whl")
    wheel = next((root / "usr/share/python-wheels").glob("pip-*.whl"))
    # A wheel is an archive that Python can run from.
    run_quietly(PYTHON, wheel / "pip", "install", "--no-index", wheel, advice="See build/logs/setup.log.")


def install_extras(*extras: str) -> None:
    """Install this project, editable, with the extras and the versions of constraints.txt.

    Raises:
        StackError: A package cannot be had.
    """
    project = f"{ROOT}[{','.join(extras)}]"
    options = ("--quiet", "--disable-pip-version-check", "--progress-bar", "off")
    run_quietly(PYTHON, "-m", "pip", "install", *options, "-c", CONSTRAINTS, "-e", project, advice=_CONNECTION)


def link_python_library() -> None:
    """Link this Python's shared library, which Triton's backend process loads, into a folder of its own.

    Of its own, because it goes on the path on which that process looks for every library.

    Raises:
        StackError: This Python was built without one.
    """
    name = f"libpython{_SERIES}.so.1.0"
    library = Path(str(sysconfig.get_config_var("LIBDIR"))) / name
    if not library.exists() and sys.base_prefix == _DISTRIBUTION_PREFIX:
        library = unpack_package(f"libpython{_SERIES}") / "usr/lib/x86_64-linux-gnu" / name
    if not library.exists():
        raise StackError(
            f"This Python ({sys.base_prefix}) was built without {name}, which Triton's backend needs; "
            "use the distribution's: make run PYTHON=/usr/bin/python3."
        )
    PYTHON_LIBRARY.mkdir(exist_ok=True)
    link = PYTHON_LIBRARY / name
    link.unlink(missing_ok=True)
    link.symlink_to(library)
