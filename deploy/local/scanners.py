"""Sets checkov and hadolint up in build/scanners (`python -m local.scanners`); once done it takes no time."""

import shutil
import sys

from local.commands import run_quietly
from local.environment import interpreter_words
from local.errors import StackError
from local.layout import BUILD, PYTHON, ROOT, STAMPS
from local.steps import Step, find_missing, run_steps

SCANNERS = BUILD / "scanners"
PINS = ROOT / "deploy" / "scanners.txt"


def install_scanners() -> None:
    """Make an environment with the pinned scanners.

    Raises:
        StackError: It cannot be made, or a package cannot be had.
    """
    shutil.rmtree(SCANNERS, ignore_errors=True)
    run_quietly(PYTHON, "-m", "venv", "--without-pip", SCANNERS, advice="See build/logs/setup.log.")
    # With the other environment's pip: not every Python brings one.
    run_quietly(
        *(PYTHON, "-m", "pip", "--python", SCANNERS / "bin" / "python", "install", "--quiet", "--requirement", PINS),
        advice="Is there a connection to a package index? See build/logs/setup.log.",
    )


def main() -> str:
    """Set up what is missing; returns what keeps it from being done, or nothing."""
    depends_on = (*interpreter_words(), PINS.read_text())
    step = Step("scanners", "checkov and hadolint", depends_on, SCANNERS / "bin" / "checkov", install_scanners)
    try:
        run_steps(find_missing((step,), STAMPS), STAMPS)
    except StackError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main() or 0)
