"""Owns the training loop."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from brainmets.training.checkpoint import Best, Checkpoint, TrainingPlan, load_checkpoint, save_checkpoint
from brainmets.training.loss import segmentation_loss
from brainmets.training.networks.blocks import SegmentationNetwork
from brainmets.training.patches import Batch, PatchStream, StudySource, stream_batches
from brainmets.training.served_weights import load_served_weights, restore_normalisation
from brainmets.training.training_log import TrainingLog
from brainmets.training.validation import PATIENCE_UPDATES, VALIDATE_EVERY, Validation
from brainmets.training.world import World

# Updates over which the learning rate rises from nothing.
WARM_UP_UPDATES = 100
# The average forgets over about a thousand updates, and over less while there are few.
AVERAGE_DECAY = 0.999
# A batch of nothing but hard voxels must not throw the network off.
MAX_GRADIENT_NORM = 2.0
# Updates between two checkpoints, and two that are kept for later choice.
SAVE_EVERY = 250
KEEP_EVERY = 1000
# Processes that train together see studies of seeds so far apart.
RANK_SEEDS = 1_000_003


class Trainer:
    """Trains one network and leaves `checkpoint.pt`, kept checkpoints and the log in a folder.

    With validation it also leaves `checkpoint-best.pt`, and stops when that has not been bettered for long.
    """

    def __init__(self, plan: TrainingPlan, *, folder: Path, world: World, start: Path | None = None) -> None:
        """Take up a training.

        Args:
            plan: How it is trained.
            folder: Where it leaves what it makes, and where a killed training's checkpoint is found.
            world: The processes that train together.
            start: A folder of the model repository whose network is trained on; without it training starts anew.

        Raises:
            InvalidArgumentError: The network to start from is none, or another one than is planned.
        """
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._folder = folder
        self._world = world
        self._network = plan.build_network()
        # The CPU's convolutions are faster with the channels last, and bfloat16 is faster still where it exists.
        self._layout = torch.channels_last_3d if plan.context.volumetric else torch.channels_last
        self._network.to(device=world.device, memory_format=self._layout)  # type: ignore[call-overload] # torch documents it
        self._average = AveragedModel(self._network, avg_fn=_average, use_buffers=True)
        self._optimizer = AdamW(self._network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self._update = 0
        self._elapsed_s = 0.0
        self._best = Best()
        self._started = start is not None
        if (folder / "checkpoint.pt").exists():
            self._resume(load_checkpoint(folder / "checkpoint.pt"))
        elif start is not None:
            load_served_weights(self._network, start)

    @property
    def network(self) -> SegmentationNetwork:
        """The network, as far as it is trained."""
        return self._network

    @property
    def best_loss(self) -> float:
        """The least validation loss so far; infinite before the first."""
        return self._best.loss

    def train(self, draw_study: StudySource, validation: Validation | None = None) -> None:
        """Train until updates, minutes or patience are spent; goes on where a killed training stopped.

        Args:
            draw_study: Where studies come from.
            validation: Anatomy that is held out; without it only updates and minutes end a training.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        batches = self._open_batches(draw_study)
        if self._started and self._update == 0:
            restore_normalisation(self._network, batches, self._world)
        supervised = _Supervised(self._network)
        # Makes the first process' parameters everybody's.
        self._supervised = DistributedDataParallel(supervised) if self._world.size > 1 else supervised
        with ExitStack() as stack:
            log = (
                stack.enter_context(
                    TrainingLog(self._folder, self._plan, update=self._update, elapsed_s=self._elapsed_s)
                )
                if self._world.writes
                else None
            )
            last_s = time.monotonic()
            while self._progress < 1.0 and self._update - self._best.update < PATIENCE_UPDATES:
                loss = self._learn(next(batches))
                self._update += 1
                now_s = time.monotonic()
                self._elapsed_s = self._world.largest(self._elapsed_s + now_s - last_s)
                last_s = now_s
                if log is not None:
                    log.add(loss, update=self._update, elapsed_s=self._elapsed_s, rate=self._rate)
                self._validate_when_due(validation, log)
                self._save_when_due()
        self._save("checkpoint.pt")

    @property
    def _progress(self) -> float:
        return self._plan.share_done(update=self._update, elapsed_s=self._elapsed_s)

    @property
    def _rate(self) -> float:
        return find_learning_rate(self._plan, update=self._update, progress=self._progress)

    def _open_batches(self, draw_study: StudySource) -> Iterator[Batch]:
        # A resumed training sees new studies, and the same ones each time it is resumed there.
        seed = self._plan.seed + self._update + RANK_SEEDS * self._world.rank
        stream = PatchStream(
            draw_study,
            seed=seed,
            batch_size=self._plan.batch_size,
            context=self._plan.context,
            dropped=self._plan.dropped,
        )
        return stream_batches(stream, workers=1)

    def _learn(self, batch: Batch) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        self._network.train()
        slices, target, weight = (each.to(self._world.device) for each in (batch.slices, batch.target, batch.weight))
        with self._world.autocast(self._network.space):
            logits = self._supervised(slices.contiguous(memory_format=self._layout))
        loss = segmentation_loss(logits, target, weight=weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
        nn.utils.clip_grad_norm_(self._network.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._average.update_parameters(self._network)
        return float(loss.detach())

    def _validate_when_due(self, validation: Validation | None, log: TrainingLog | None) -> None:
        if validation is None:
            # Patience is for what is measured.
            self._best = Best(update=self._update)
            return
        if self._update % VALIDATE_EVERY and self._progress < 1.0:
            return
        network: SegmentationNetwork = self._average.module  # type: ignore[assignment] # what it was made of
        loss = self._world.largest(validation.measure_loss(network, self._world))
        if log is not None:
            log.add_validation(loss, update=self._update)
        if loss < self._best.loss:
            self._best = Best(loss, self._update)
            self._save("checkpoint-best.pt")

    def _save_when_due(self) -> None:
        if self._update % SAVE_EVERY == 0:
            self._save("checkpoint.pt")
        if self._update % KEEP_EVERY == 0:
            self._save(f"checkpoint-{self._update:06d}.pt")

    def _save(self, name: str) -> None:
        if not self._world.writes:
            return
        checkpoint = Checkpoint(
            plan=self._plan,
            update=self._update,
            elapsed_s=self._elapsed_s,
            parameters=self._network.state_dict(),
            averaged=self._average.module.state_dict(),
            optimizer=self._optimizer.state_dict(),
            best=self._best,
        )
        save_checkpoint(checkpoint, self._folder / name)

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._network.load_state_dict(checkpoint.parameters)
        self._average.module.load_state_dict(checkpoint.averaged)
        self._average.n_averaged.fill_(checkpoint.update)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._update = checkpoint.update
        self._elapsed_s = checkpoint.elapsed_s
        self._best = checkpoint.best


def find_learning_rate(plan: TrainingPlan, *, update: int, progress: float) -> float:
    """Return the learning rate: a linear rise, then half a cosine down to zero, again in each cycle.

    Args:
        plan: Its largest rate and its cycles.
        update: Updates done.
        progress: Share of the training that is done.

    References:
        Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR, equation 5.
    """
    rise = min(1.0, (update + 1) / WARM_UP_UPDATES)
    cycle = min(1.0, progress) * plan.cycles
    share = cycle - min(int(cycle), plan.cycles - 1)
    return plan.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * share))


class _Supervised(nn.Module):
    """A network whose forward pass gives every supervised output: what DistributedDataParallel wraps."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every supervised output."""
        return self.network.supervise(slices)


def _average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """Return the moving average, which forgets its start faster while it is young."""
    if not averaged.is_floating_point():
        return current
    updates = float(count)
    decay = min(AVERAGE_DECAY, (1.0 + updates) / (10.0 + updates))
    return averaged * decay + current * (1.0 - decay)
