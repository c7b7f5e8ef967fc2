"""The distance between surfaces is that of known solids."""

import numpy as np
import pytest

from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.surface_distance import ABSENT_SURFACE_MM, hausdorff_95_mm
from imaging_cases import OBLIQUE, axial_geometry, ball_mask, box_at, make_geometry, make_mask

SHAPE = (30, 30, 30)
EMPTY = make_mask(SHAPE)
CUBE = make_mask(SHAPE, box_at((5, 5, 5), (6, 6, 6)))


def test_a_surface_is_no_distance_from_itself() -> None:
    """Equal masks are 0 mm apart."""
    assert hausdorff_95_mm(CUBE, CUBE) == 0.0


def test_single_voxels_are_as_far_apart_as_their_centres() -> None:
    """Distances are in millimetres, on any grid."""
    geometry = make_geometry((4, 4, 4), spacing_mm=(3.0, 1.0, 4.0), directions=OBLIQUE)
    voxels = np.zeros((2, 4, 4, 4), dtype=np.bool_)
    voxels[0, 0, 0, 0] = voxels[1, 1, 0, 1] = True
    first, second = (LesionMask(each, geometry) for each in voxels)
    assert hausdorff_95_mm(first, second) == pytest.approx(5.0)


def test_concentric_balls_are_apart_by_their_radii() -> None:
    """Surfaces of radius 10 and 6 mm are 4 mm apart within a voxel."""
    geometry, centre_mm = axial_geometry(SHAPE), np.array([15.0, 15.0, 15.0])
    small, large = (ball_mask(size, geometry=geometry, centre_mm=centre_mm) for size in (12.0, 20.0))
    assert hausdorff_95_mm(small, large) == pytest.approx(4.0, abs=1.0)


def test_a_far_twentieth_of_the_surface_does_not_count() -> None:
    """One stray voxel beside 152 of a cube's surface moves the result by nothing, in either direction."""
    stray = make_mask(SHAPE, box_at((5, 5, 5), (6, 6, 6)), box_at((29, 29, 29), (1, 1, 1)))
    assert hausdorff_95_mm(CUBE, stray) == hausdorff_95_mm(stray, CUBE) == 0.0


def test_the_larger_direction_counts() -> None:
    """A surface that is near the other only where the other is small is far from it."""
    half = make_mask(SHAPE, box_at((5, 5, 5), (6, 6, 1)))
    assert hausdorff_95_mm(CUBE, half) == hausdorff_95_mm(half, CUBE) == 5.0


def test_two_empty_masks_are_no_distance_apart() -> None:
    """Nothing agrees with nothing: 0 mm."""
    assert hausdorff_95_mm(EMPTY, EMPTY) == 0.0


def test_nothing_is_far_from_something() -> None:
    """An absent surface scores 374 mm, as in BraTS."""
    assert hausdorff_95_mm(CUBE, EMPTY) == hausdorff_95_mm(EMPTY, CUBE) == ABSENT_SURFACE_MM == 374.0
