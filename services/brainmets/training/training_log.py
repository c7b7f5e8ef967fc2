"""Owns what a training tells while it runs: a progress bar, a CSV file, and TensorBoard's events."""

import csv
from pathlib import Path
from typing import Self

from tensorboardX import SummaryWriter
from tqdm import tqdm

from brainmets.training.checkpoint import TrainingPlan

# Updates between two lines.
LOG_EVERY = 20
# Of the whole training, whether its updates or its minutes end it.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class TrainingLog:
    """Writes update, seconds, learning rate and mean loss every so often, and the validation's loss when there is one.

    `training.csv` has the columns update, elapsed_s, learning_rate, loss; `validation.csv` update, loss.
    """

    def __init__(self, folder: Path, plan: TrainingPlan, *, update: int, elapsed_s: float) -> None:
        self._file = (folder / "training.csv").open("a", newline="")
        self._lines = csv.writer(self._file)
        self._validations = folder / "validation.csv"
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=update or None)
        self._plan = plan
        done = plan.share_done(update=update, elapsed_s=elapsed_s)
        self._bar = tqdm(total=max(1.0, done), initial=done, desc=plan.network, bar_format=BAR)
        self._losses: list[float] = []
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._file.close()
        self._events.close()

    def add(self, loss: float, *, update: int, elapsed_s: float, rate: float) -> None:
        """Take one update's loss."""
        self._bar.set_postfix_str(f"{update:,} updates{self._told}", refresh=False)
        self._bar.update(min(self._bar.total, self._plan.share_done(update=update, elapsed_s=elapsed_s)) - self._bar.n)
        self._losses.append(loss)
        if update % LOG_EVERY:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        self._told = f", loss {mean:.3f}"
        self._lines.writerow([update, f"{elapsed_s:.1f}", f"{rate:.3e}", f"{mean:.4f}"])
        self._file.flush()
        self._events.add_scalar("loss/training", mean, update)
        self._events.add_scalar("learning_rate", rate, update)

    def add_validation(self, loss: float, *, update: int) -> None:
        """Take the loss on held-out anatomy."""
        with self._validations.open("a", newline="") as file:
            csv.writer(file).writerow([update, f"{loss:.4f}"])
        self._events.add_scalar("loss/validation", loss, update)
