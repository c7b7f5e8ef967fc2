"""Tests of what a scanner does to a head: each step changes what it says, and air stays air."""

from collections.abc import Callable

import numpy as np
import pytest

from brainmets.training.degradation import degrade, disturb
from brainmets.training.heads import T1C, Head
from phantom_heads import make_head


def make_textured_head() -> Head:
    """Return the phantom with tissue that varies along the slices."""
    head = make_head()
    head.voxels *= 1.0 + 0.5 * np.sin(np.arange(head.shape[0], dtype=np.float32))[None, :, None, None]
    return head


def test_disturbances_happen_to_some_studies_and_leave_air() -> None:
    """Over many seeds some heads are changed and some are not, and nothing appears outside of any."""
    plain = make_textured_head()
    changed = []
    for seed in range(20):
        head = make_textured_head()
        disturb(head, np.random.default_rng(seed))
        assert not head.voxels[:, plain.brain == 0.0].any()
        assert np.isfinite(head.voxels).all()
        changed.append(not np.array_equal(head.voxels[T1C], plain.voxels[T1C]))
    assert 3 < sum(changed) < 20


@pytest.mark.parametrize("step", [disturb, degrade])
def test_the_same_seed_disturbs_alike(step: Callable[[Head, np.random.Generator], None]) -> None:
    """MONAI's transforms too are replayed from the study's seed."""
    heads = [make_textured_head(), make_textured_head()]
    for head in heads:
        step(head, np.random.default_rng(4))
    assert np.array_equal(heads[0].voxels, heads[1].voxels)
