"""Owns checkpoints: all that a killed training needs to go on, in one file that is never half written."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.context import SERVED, Context
from brainmets.training.networks import build_network
from brainmets.training.networks.blocks import WIDTHS, SegmentationNetwork
from brainmets.training.patches import DROPPED


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a network is trained.

    Attributes:
        network: Its name.
        updates: Number of updates of its parameters.
        minutes: Longest time that they may take; the learning rate falls by whichever share is spent first.
        cycles: How often it falls, from its largest to zero, in equal parts of the training.
        batch_size: Patches an update.
        seed: Draws parameters, studies and patches.
        learning_rate: Largest step, after the warm-up.
        weight_decay: AdamW's.
        context: The slices that it sees, and whether it is planar or volumetric.
        widths: Feature maps of each level, the finest first.
        dropped: How often a patch does without a sequence that its study has, as a fraction.
        started_from: SHA-256 of the served graph whose weights are trained on, lower-case hexadecimal; empty: none.
    """

    network: str
    updates: int
    minutes: float
    cycles: int = 1
    batch_size: int = 8
    seed: int = 1
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    context: Context = SERVED
    widths: tuple[int, ...] = WIDTHS
    dropped: float = DROPPED
    started_from: str = ""

    def build_network(self) -> SegmentationNetwork:
        """Return the network with fresh parameters."""
        return build_network(
            self.network, input_channels=self.context.input_channels, space=self.context.space, widths=self.widths
        )

    def share_done(self, *, update: int, elapsed_s: float) -> float:
        """Return which share of the training is done after so many updates and seconds; 1 and more: it is over."""
        return max(update / self.updates, elapsed_s / (60.0 * self.minutes))


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation so far.

    Attributes:
        loss: Its loss; infinite before the first.
        update: Updates done then.
    """

    loss: float = math.inf
    update: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A training at one moment.

    Attributes:
        plan: How it goes on.
        update: Updates done.
        elapsed_s: Time they took.
        parameters: The network's state.
        averaged: The state of the exponential moving average, which is what is exported.
        optimizer: The optimiser's state.
        best: The best validation so far.
    """

    plan: TrainingPlan
    update: int
    elapsed_s: float
    parameters: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimizer: dict[str, Any]  # torch's own layout
    best: Best = Best()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint beside its place and move it there in one step."""
    content = {
        "plan": asdict(checkpoint.plan),
        "update": checkpoint.update,
        "elapsed_s": checkpoint.elapsed_s,
        "parameters": checkpoint.parameters,
        "averaged": checkpoint.averaged,
        "optimizer": checkpoint.optimizer,
        "best": asdict(checkpoint.best),
    }
    unfinished = path.with_suffix(".part")
    torch.save(content, unfinished)
    unfinished.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InvalidArgumentError: There is none.
    """
    if not path.is_file():
        raise InvalidArgumentError(
            "There is no checkpoint", expected="a file that training wrote", got="none", remedy="train first"
        )
    content = torch.load(path, map_location="cpu", weights_only=True)
    return Checkpoint(
        plan=_read_plan(content["plan"]),
        update=content["update"],
        elapsed_s=content["elapsed_s"],
        parameters=content["parameters"],
        averaged=content["averaged"],
        optimizer=content["optimizer"],
        best=Best(**content.get("best", {})),
    )


def _read_plan(stored: dict[str, Any]) -> TrainingPlan:
    # Checkpoints from before there was a choice have the served context.
    context = Context(**stored.pop("context", {}))
    return TrainingPlan(**stored, context=context)


def load_network(checkpoint: Checkpoint) -> SegmentationNetwork:
    """Return the averaged network, ready to decide."""
    network = checkpoint.plan.build_network()
    network.load_state_dict(checkpoint.averaged)
    return network.eval()
