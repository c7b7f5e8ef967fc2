"""Owns how set-up runs other programs: quietly, and with their last words when they fail."""

import subprocess
from pathlib import Path

from local.errors import StackError
from local.layout import LOGS

LAST_LINES = 12


def run_quietly(*words: str | Path, advice: str, cwd: Path | None = None) -> None:
    """Run a program; what it says goes to build/logs/setup.log.

    Raises:
        StackError: It failed. The sentence ends with `advice` and the program's last lines.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StackError(f"The program {words[0]} is not on this machine. {advice}") from None
    said = done.stdout + done.stderr
    with (LOGS / "setup.log").open("a") as log:
        log.write(f"$ {' '.join(map(str, words))}\n{said}\n")
    if done.returncode != 0:
        last = "\n".join(f"    {line}" for line in said.strip().splitlines()[-LAST_LINES:])
        raise StackError(f"{Path(words[0]).name} failed. {advice}\n{last}")
