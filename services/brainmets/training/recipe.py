"""Owns the recipe of the shipped weights: both networks side by side, from studies that one process draws for both."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from brainmets.imaging.errors import InternalError
from brainmets.training.shelf import LOOK_AGAIN_S, StudyShelf

# Both networks together, on two cores, in two cycles of the learning rate.
SHIPPED_MINUTES = 143.0
SHIPPED_CYCLES = 2
SHELF_SEED = 11
# Drawn before both begin: with fewer they would learn the first ones by heart.
FIRST_STUDIES = 40
# Trained on, they go through one more cycle at a lower rate.
FURTHER_RATE = 8e-4
# Memory that holds files, where there is some: studies are read from it many times.
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 -- Linux' own place for it


@dataclass(frozen=True, slots=True)
class ShippedTraining:
    """How one of the shipped networks is trained.

    Attributes:
        network: Its name.
        updates: Most updates; the minutes end it before on two cores.
        seed: Draws its parameters and patches.
    """

    network: str
    updates: int
    seed: int


SHIPPED = (ShippedTraining("nested_unet", 9000, seed=1), ShippedTraining("attention_unet", 18_000, seed=2))


def train_shipped(
    data: Sequences[Path], out: Path, *, minutes: float, start: Path | None = None, seed: int = 0
) -> None:
    """Train both networks; each shows a progress bar and leaves its checkpoint in a folder of its name.

    Args:
        data: Folders that hold the backgrounds.
        out: Where the checkpoints go.
        minutes: For both, side by side, once the first studies are drawn.
        start: A model repository whose networks are trained on; without it they start anew.
        seed: Added to every seed, so that another cycle draws other studies and patches.

    Raises:
        InternalError: No studies are drawn, or one of the trainings failed; it said why.
    """
    place = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as shelf:
        drawing = _start("shelve", "--data", *data, "--shelf", shelf, "--seed", SHELF_SEED + seed, quiet=True)
        try:
            _wait_for_studies(StudyShelf(Path(shelf)), drawing)
            trainings = [
                _start(
                    "train", "--network", each.network, "--shelf", shelf, "--out", out / each.network,
                    "--updates", each.updates, "--minutes", minutes, "--seed", each.seed + seed,
                    *(("--cycles", SHIPPED_CYCLES) if start is None else
                      ("--start", start / each.network, "--learning-rate", FURTHER_RATE)),
                )
                for each in SHIPPED
            ]  # fmt: skip
            failed = [each.args for each in trainings if each.wait() != 0]
        finally:
            drawing.terminate()
            drawing.wait()
    if failed:
        raise InternalError(
            "A training failed", expected="both to end", got=f"{len(failed)} failures", remedy="see what it said above"
        )


def _wait_for_studies(shelf: StudyShelf, drawing: subprocess.Popen[bytes]) -> None:
    with tqdm(total=FIRST_STUDIES, desc="first studies", unit="study") as bar:
        while bar.n < FIRST_STUDIES:
            if drawing.poll() is not None:
                raise InternalError(
                    "Studies are not drawn",
                    expected="a process that draws them",
                    got=f"exit status {drawing.returncode}",
                    remedy="see what `python -m brainmets.training shelve` says with the same folders",
                )
            time.sleep(LOOK_AGAIN_S)
            bar.update(min(len(shelf), FIRST_STUDIES) - bar.n)


def _start(command: str, *arguments: object, quiet: bool = False) -> subprocess.Popen[bytes]:
    # Whoever is quiet gives way to the trainings.
    manners = ("nice", "-n", "10") if quiet else ()
    line = [*manners, sys.executable, "-m", "brainmets.training", command, *map(str, arguments)]
    return subprocess.Popen(line, stderr=subprocess.DEVNULL if quiet else None)  # noqa: S603 -- our own command
