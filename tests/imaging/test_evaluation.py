"""Overlap is the Dice coefficient, with stated values where nothing is marked."""

import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.evaluation import dice, slice_dice
from imaging_cases import box_at, make_mask

SHAPE = (4, 8, 8)
EMPTY = make_mask(SHAPE)
SQUARE = make_mask(SHAPE, box_at((1, 0, 0), (2, 4, 4)))


def test_a_mask_agrees_with_itself() -> None:
    """Equal masks have Dice 1."""
    assert dice(SQUARE, SQUARE) == slice_dice(SQUARE, SQUARE) == 1.0


def test_half_overlap() -> None:
    """Two boxes of 32 voxels that share 16 have Dice 2 x 16 / 64."""
    shifted = make_mask(SHAPE, box_at((1, 2, 0), (2, 4, 4)))
    assert dice(SQUARE, shifted) == pytest.approx(0.5)


def test_two_empty_masks_agree() -> None:
    """Finding nothing where nothing is, is right: 1."""
    assert dice(EMPTY, EMPTY) == slice_dice(EMPTY, EMPTY) == 1.0


def test_one_empty_mask_disagrees() -> None:
    """Finding nothing where something is, or the reverse, is 0."""
    assert dice(SQUARE, EMPTY) == dice(EMPTY, SQUARE) == 0.0
    assert slice_dice(SQUARE, EMPTY) == slice_dice(EMPTY, SQUARE) == 0.0


def test_slices_count_the_same() -> None:
    """A slice of 16 voxels that agrees and one of 1 that is missed average to one half."""
    reference = make_mask(SHAPE, box_at((0, 0, 0), (1, 4, 4)), box_at((2, 0, 0), (1, 1, 1)))
    prediction = make_mask(SHAPE, box_at((0, 0, 0), (1, 4, 4)))
    assert slice_dice(reference, prediction) == pytest.approx(0.5)
    assert dice(reference, prediction) == pytest.approx(32 / 33)


def test_masks_on_different_grids_are_refused() -> None:
    """Overlap of voxels that are not in one place means nothing."""
    with pytest.raises(InvalidArgumentError):
        dice(SQUARE, make_mask((4, 8, 9)))
