"""What a worker is told of a brain is where it was."""

import numpy as np
import pytest

from brainmets.imaging.brain_mask import BrainMask, pack_brain
from brainmets.imaging.errors import InternalError
from imaging_cases import axial_geometry


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 8, 9), (16, 2, 7)])
def test_every_second_voxel_is_told(shape: tuple[int, int, int]) -> None:
    """On each axis, beginning with the first, whatever the bits fill of the last byte."""
    brain = np.random.default_rng(0).random(shape) < 0.5
    np.testing.assert_array_equal(pack_brain(brain).unpack(axial_geometry(shape)), brain[::2, ::2, ::2])


def test_a_whole_head_is_told_in_kilobytes() -> None:
    """A header stays small beside its tiles."""
    assert len(pack_brain(np.ones((180, 256, 256), dtype=np.bool_)).bits) < 200_000


@pytest.mark.parametrize("brain", [BrainMask(2, bytes(7)), BrainMask(4, bytes(8))])
def test_bits_of_another_grid_are_refused(brain: BrainMask) -> None:
    """A worker does not guess where the brain lies."""
    with pytest.raises(InternalError):
        brain.unpack(axial_geometry((8, 8, 8)))
