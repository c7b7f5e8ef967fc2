"""Tests of the loss: what it rewards, and what it weighs."""

import pytest
import torch

from brainmets.training.loss import segmentation_loss

TARGET = torch.zeros(1, 1, 32, 32)
TARGET[..., 8:16, 8:16] = 1.0
EVEN = torch.ones_like(TARGET)


def logits(probability: torch.Tensor) -> torch.Tensor:
    """Return near-certain logits of 0 and 1."""
    return (probability - 0.5) * 40.0


def test_the_right_answer_costs_nothing() -> None:
    """A certain and right prediction has a loss of zero."""
    assert float(segmentation_loss((logits(TARGET),), TARGET, weight=EVEN)) == pytest.approx(0.0, abs=1e-4)


def test_the_wrong_answer_costs_more_than_a_doubtful_one() -> None:
    """Being sure of the opposite is worse than not knowing."""
    wrong = segmentation_loss((logits(1.0 - TARGET),), TARGET, weight=EVEN)
    doubtful = segmentation_loss((torch.zeros_like(TARGET),), TARGET, weight=EVEN)
    assert float(wrong) > float(doubtful) > 0.0


def test_a_missed_voxel_costs_its_weight() -> None:
    """The same miss costs more where the weight is larger."""
    missed = logits(torch.zeros_like(TARGET))
    heavy = EVEN + 3.0 * TARGET
    assert segmentation_loss((missed,), TARGET, weight=heavy) > segmentation_loss((missed,), TARGET, weight=EVEN)


def test_a_deeper_output_counts_twice() -> None:
    """Deep supervision weighs the outputs' own losses, the last one most."""
    good, bad = logits(TARGET), logits(1.0 - TARGET)
    alone = [float(segmentation_loss((each,), TARGET, weight=EVEN)) for each in (good, bad)]
    assert float(segmentation_loss((good, bad), TARGET, weight=EVEN)) == pytest.approx(
        (alone[0] + 2.0 * alone[1]) / 3.0
    )
