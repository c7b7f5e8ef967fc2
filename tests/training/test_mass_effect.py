"""Tests of mass effect: tissue moves outwards, less with distance, and nothing else happens."""

import numpy as np
import pytest

from brainmets.training.heads import T1C
from brainmets.training.mass_effect import push_tissue
from phantom_heads import make_head

CENTRE, RADIUS_MM = (24, 32, 28), 6.0


def _push(strength: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a T1c whose voxels held their distance from a point before they were pushed away from it."""
    head = make_head()
    grid = np.ogrid[tuple(slice(0, size) for size in head.shape)]
    head.voxels[T1C] = np.sqrt(sum((axis - at) ** 2.0 for axis, at in zip(grid, CENTRE, strict=True)))
    place = head.place_around(CENTRE, reach_mm=18.0)
    push_tissue(head, place, centre=CENTRE, radius_mm=RADIUS_MM, strength=strength)
    return head.voxels[T1C]


@pytest.mark.parametrize("distance_mm", [3, 6, 9, 12])
def test_tissue_comes_from_nearer_the_middle(distance_mm: int) -> None:
    """What lies at r came from r (1 - strength exp(-(r / radius)²)), on every axis."""
    strength = 0.5
    expected = distance_mm * (1.0 - strength * np.exp(-((distance_mm / RADIUS_MM) ** 2)))
    pushed = _push(strength)
    d, h, w = CENTRE
    for got in (pushed[d + distance_mm, h, w], pushed[d, h - distance_mm, w], pushed[d, h, w + distance_mm]):
        assert got == pytest.approx(expected, abs=0.15)


def test_nothing_moves_without_strength() -> None:
    """A strength of zero leaves every voxel where it is."""
    assert _push(0.0) == pytest.approx(_push(1e-9), abs=1e-4)
    assert _push(0.0)[CENTRE] == pytest.approx(0.0, abs=1e-4)


def test_a_lesion_drawn_before_moves_with_its_tissue() -> None:
    """The target stays on the voxels that are lesion."""
    head = make_head()
    head.voxels[T1C][...] = 1.0
    spot = (slice(22, 27), slice(36, 41), slice(26, 31))
    head.voxels[T1C][spot] = 5.0
    head.target[spot] = True
    push_tissue(head, head.place_around(CENTRE, reach_mm=18.0), centre=CENTRE, radius_mm=RADIUS_MM, strength=0.6)
    assert not head.target[24, 36, 28]
    assert np.array_equal(head.target, head.voxels[T1C] > 3.0)
