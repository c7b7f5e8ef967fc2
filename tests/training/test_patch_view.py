"""Tests of a patch's view: what it shows lies where its matrix says, and the chosen voxel is always shown."""

import numpy as np
import pytest

from brainmets.training.patch_view import STRETCH, PatchView, draw_matrix

SIZE = 32
VOXEL, SHOWN_AT = (20, 25), (10, 18)
UPRIGHT_MATRIX = np.eye(2)


def _positions() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return two planes that hold each voxel's row and column."""
    return np.stack(np.mgrid[0:60, 0:70]).astype(np.float32)


def test_an_upright_view_is_a_plain_cut() -> None:
    """Without a turn a patch holds the study's own voxels."""
    shown = PatchView(UPRIGHT_MATRIX, VOXEL, SHOWN_AT, SIZE).sample(_positions())
    rows, columns = (slice(at - to, at - to + SIZE) for at, to in zip(VOXEL, SHOWN_AT, strict=True))
    np.testing.assert_allclose(shown, _positions()[:, rows, columns], atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_every_view_shows_the_voxel_and_steps_by_its_matrix(seed: int) -> None:
    """However it is turned, the chosen voxel is where it shall be, and its neighbours are where the matrix says."""
    matrix = draw_matrix(np.random.default_rng(seed))
    shown = PatchView(matrix, VOXEL, SHOWN_AT, SIZE).sample(_positions())
    row, column = SHOWN_AT
    np.testing.assert_allclose(shown[:, row, column], VOXEL, atol=1e-3)
    np.testing.assert_allclose(shown[:, row + 3, column], VOXEL + 3.0 * matrix[:, 0], atol=1e-3)
    np.testing.assert_allclose(shown[:, row, column - 2], VOXEL - 2.0 * matrix[:, 1], atol=1e-3)


def test_beyond_the_study_there_is_nothing() -> None:
    """A patch that looks beyond the study's end is zero there."""
    shown = PatchView(UPRIGHT_MATRIX, (0, 0), (5, 5), SIZE).sample(np.ones((1, 20, 20), dtype=np.float32))
    assert not shown[0, :4, :].any()
    assert shown[0, 6:20, 6:20].all()


def test_views_differ_within_their_bounds() -> None:
    """Views are drawn anew, a quarter of them upright, and none changes an area by more than its stretch allows."""
    rng = np.random.default_rng(0)
    matrices = [draw_matrix(rng) for _ in range(400)]
    upright = sum(bool((matrix == UPRIGHT_MATRIX).all()) for matrix in matrices)
    assert 60 < upright < 140
    areas = [np.linalg.det(matrix) for matrix in matrices]
    assert min(areas) >= np.exp(-2.0 * STRETCH) - 1e-9
    assert max(areas) <= np.exp(2.0 * STRETCH) + 1e-9
    assert len({round(area, 6) for area in areas}) > 200
