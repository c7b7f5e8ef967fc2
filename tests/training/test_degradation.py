"""Tests of what a scanner does to a head: each step changes what it says, and air stays air."""

from collections.abc import Callable

import numpy as np
import pytest

from brainmets.training.degradation import degrade, disturb, thicken, thicken_target
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


@pytest.mark.parametrize(("diameter_mm", "slices"), [(6, 4), (20, 6)])
def test_the_target_is_what_thick_slices_show(diameter_mm: int, slices: int) -> None:
    """The voxels that have half of the lesion's contrast in the image; and no lesion is lost."""
    grid = np.ogrid[:40, :40, :40]
    ball = sum((axis - 17.0) ** 2 for axis in grid) < (diameter_mm / 2.0) ** 2
    image, target = ball.astype(np.float32), ball.copy()
    thicken(image, slices=slices)
    thicken_target(target, slices=slices)
    assert np.array_equal(target, image > 0.5 * image.max())
    assert 0.7 < np.count_nonzero(target) / np.count_nonzero(ball) < 1.6


def test_lesions_of_thick_slices_stay_apart() -> None:
    """Each by its own contrast: a small one beside a large one is not lost."""
    target = np.zeros((30, 40, 40), dtype=np.bool_)
    target[4:20, 4:20, 4:20] = target[12:15, 30:33, 30:33] = True
    thicken_target(target, slices=5)
    assert target[4:20, 4:20, 4:20].any()
    assert target[8:20, 30:33, 30:33].any()
