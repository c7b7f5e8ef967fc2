"""Two networks agree as far as their decisions overlap."""

import numpy as np
import pytest

from brainmets.imaging.agreement import DecisionAgreement

THRESHOLD = 0.7


def tile(*decided: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a tile of eight voxels (2, 2, 2) with these at the threshold, and the others just below it."""
    voxels = np.full(8, THRESHOLD - 0.01, dtype=np.float32)
    voxels[list(decided)] = THRESHOLD + 0.01
    return voxels.reshape(2, 2, 2)


@pytest.mark.parametrize(
    ("first", "second", "dice"),
    [
        ((1, 2), (1, 2), 1.0),
        ((1, 2), (3, 4), 0.0),
        ((1, 2, 3), (3,), 0.5),
        ((), (1,), 0.0),
    ],
)
def test_agreement_is_the_dice_of_both_decisions(first: tuple[int, ...], second: tuple[int, ...], dice: float) -> None:
    """Twice the voxels of both over those of each."""
    agreement = DecisionAgreement(THRESHOLD)
    agreement.add(tile(*first), tile(*second))
    assert agreement.dice == dice


def test_tiles_count_together() -> None:
    """As one study, not as a mean over its tiles."""
    agreement = DecisionAgreement(THRESHOLD)
    agreement.add(tile(0, 1, 2), tile(0, 1, 2))
    agreement.add(tile(5), tile(6))
    assert agreement.dice == 2 * 3 / 8


def test_networks_that_decide_nothing_say_nothing() -> None:
    """Neither that they agree, nor that they do not."""
    agreement = DecisionAgreement(THRESHOLD)
    agreement.add(tile(), tile())
    assert agreement.dice is None
