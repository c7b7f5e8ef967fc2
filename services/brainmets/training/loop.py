"""Owns the training loop."""

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint, save_checkpoint
from brainmets.training.loss import segmentation_loss
from brainmets.training.networks import build_network
from brainmets.training.patches import INPUT_CHANNELS, Batch, PatchStream, StudySource, stream_batches

# Updates over which the learning rate rises from nothing.
WARM_UP_UPDATES = 100
# The average forgets over about a thousand updates, and over less while there are few.
AVERAGE_DECAY = 0.999
WEIGHT_DECAY = 1e-4
# A batch of nothing but hard voxels must not throw the network off.
MAX_GRADIENT_NORM = 2.0
# Updates between two lines of the log, two checkpoints, and two that are kept for later choice.
LOG_EVERY = 20
SAVE_EVERY = 250
KEEP_EVERY = 1000


class Trainer:
    """Trains one network and leaves `checkpoint.pt`, `training.csv` and kept checkpoints in a folder."""

    def __init__(self, plan: TrainingPlan, *, folder: Path) -> None:
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._folder = folder
        self._network = build_network(plan.network, input_channels=INPUT_CHANNELS)
        # The CPU's convolutions are faster with the channels last, and bfloat16 is faster still where it exists.
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch documents it
        self._average = AveragedModel(self._network, avg_fn=_average, use_buffers=True)
        self._optimizer = AdamW(self._network.parameters(), lr=plan.learning_rate, weight_decay=WEIGHT_DECAY)
        self._update = 0
        self._elapsed_s = 0.0
        if (folder / "checkpoint.pt").exists():
            self._resume(load_checkpoint(folder / "checkpoint.pt"))

    def train(self, draw_study: StudySource) -> None:
        """Train until the plan's updates or its minutes are spent; goes on where a killed training stopped."""
        self._folder.mkdir(parents=True, exist_ok=True)
        batches = self._open_batches(draw_study)
        with _Log(self._folder / "training.csv", self._plan, update=self._update) as log:
            last_s = time.monotonic()
            while self._progress < 1.0:
                loss = self._learn(next(batches))
                self._update += 1
                now_s = time.monotonic()
                self._elapsed_s += now_s - last_s
                last_s = now_s
                log.add(loss, update=self._update, elapsed_s=self._elapsed_s, rate=self._rate)
                self._save_when_due()
        self._save("checkpoint.pt")

    @property
    def _progress(self) -> float:
        return max(self._update / self._plan.updates, self._elapsed_s / (60.0 * self._plan.minutes))

    @property
    def _rate(self) -> float:
        """The learning rate: a linear rise, then half a cosine down to zero."""
        rise = min(1.0, (self._update + 1) / WARM_UP_UPDATES)
        return self._plan.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, self._progress)))

    def _open_batches(self, draw_study: StudySource) -> Iterator[Batch]:
        # A resumed training sees new studies, and the same ones each time it is resumed there.
        seed = self._plan.seed + self._update
        stream = PatchStream(draw_study, seed=seed, batch_size=self._plan.batch_size)
        return stream_batches(stream, workers=1)

    def _learn(self, batch: Batch) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        self._network.train()
        slices = batch.slices.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self._network.supervise(slices)
        loss = segmentation_loss(logits, batch.target, weight=batch.weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
        nn.utils.clip_grad_norm_(self._network.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._average.update_parameters(self._network)
        return float(loss.detach())

    def _save_when_due(self) -> None:
        if self._update % SAVE_EVERY == 0:
            self._save("checkpoint.pt")
        if self._update % KEEP_EVERY == 0:
            self._save(f"checkpoint-{self._update:06d}.pt")

    def _save(self, name: str) -> None:
        checkpoint = Checkpoint(
            plan=self._plan,
            update=self._update,
            elapsed_s=self._elapsed_s,
            parameters=self._network.state_dict(),
            averaged=self._average.module.state_dict(),
            optimizer=self._optimizer.state_dict(),
        )
        save_checkpoint(checkpoint, self._folder / name)

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._network.load_state_dict(checkpoint.parameters)
        self._average.module.load_state_dict(checkpoint.averaged)
        self._average.n_averaged.fill_(checkpoint.update)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._update = checkpoint.update
        self._elapsed_s = checkpoint.elapsed_s


class _Log:
    """A progress bar, and a CSV file with a line of update, seconds, learning rate and mean loss every so often."""

    def __init__(self, path: Path, plan: TrainingPlan, *, update: int) -> None:
        self._file = path.open("a", newline="")
        self._lines = csv.writer(self._file)
        self._bar = tqdm(total=plan.updates, initial=update, unit="update", desc=plan.network)
        self._losses: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._file.close()

    def add(self, loss: float, *, update: int, elapsed_s: float, rate: float) -> None:
        """Take one update's loss."""
        self._bar.update()
        self._losses.append(loss)
        if update % LOG_EVERY:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        self._bar.set_postfix(loss=f"{mean:.3f}")
        self._lines.writerow([update, f"{elapsed_s:.1f}", f"{rate:.3e}", f"{mean:.4f}"])
        self._file.flush()


def _average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """Return the moving average, which forgets its start faster while it is young."""
    if not averaged.is_floating_point():
        return current
    updates = float(count)
    decay = min(AVERAGE_DECAY, (1.0 + updates) / (10.0 + updates))
    return averaged * decay + current * (1.0 - decay)
