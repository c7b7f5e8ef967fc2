"""Owns validation while training: patches of an anatomy that is held out, always the same, and the loss on them."""

import itertools
from dataclasses import dataclass

import torch

from brainmets.training.context import Context
from brainmets.training.loss import segmentation_loss
from brainmets.training.networks.blocks import SegmentationNetwork
from brainmets.training.patches import Batch, PatchStream, StudySource
from brainmets.training.world import World

# Updates between two validations.
VALIDATE_EVERY = 250
# Updates without a better validation after which training stops: several validations, which differ by chance.
PATIENCE_UPDATES = 2000
# Patches are drawn apart from every training seed.
VALIDATION_SEED = 10_000
# Enough studies and patches that the loss falls smoothly.
BATCHES, BATCH_SIZE = 24, 8


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Batches that are never trained on.

    Attributes:
        batches: The same ones each time.
    """

    batches: tuple[Batch, ...]

    def measure_loss(self, network: SegmentationNetwork, world: World) -> float:
        """Return the mean loss; small lesions weigh as they do in training, so that it falls when they are learned."""
        network.eval()
        losses = []
        for batch in self.batches:
            with torch.inference_mode(), world.autocast(network.space):
                logits = network.supervise(batch.slices.to(world.device))
            target, weight = batch.target.to(world.device), batch.weight.to(world.device)
            losses.append(float(segmentation_loss(logits, target, weight=weight)))
        return sum(losses) / len(losses)


def draw_validation(
    draw_study: StudySource, *, context: Context, batches: int = BATCHES, batch_size: int = BATCH_SIZE
) -> Validation:
    """Return patches of studies from a source that shares no anatomy with the training's."""
    stream = PatchStream(draw_study, seed=VALIDATION_SEED, batch_size=batch_size, context=context)
    drawn = itertools.islice(iter(stream), batches)
    return Validation(tuple(Batch(slices.float(), target.float(), weight.float()) for slices, target, weight in drawn))
