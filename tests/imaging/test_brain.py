"""The midline is the brain's own, not the sign of a coordinate."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainmets.imaging.brain import find_midline
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.midline import Midline, Side
from heads import head_geometry, head_on
from imaging_cases import AXIAL, SAGITTAL, axial_geometry


def midline_of(geometry: Geometry, *, motion: np.ndarray | None = None) -> Midline:
    """Return the midline of the head on a grid whose header is moved."""
    head = head_on(geometry).voxels > 0
    affine = geometry.affine if motion is None else motion @ geometry.affine
    return find_midline(head, Geometry(geometry.shape, affine))


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, -AXIAL])
def test_a_head_at_the_origin_mirrors_at_x_zero(directions: np.ndarray) -> None:
    """Whatever the plane it is stored in."""
    midline = midline_of(head_geometry(directions, spacing_mm=(2.0, 2.0, 2.0)))
    assert midline.normal[0] > 0.999
    assert abs(midline.offset_mm) < 1.0


def test_a_shifted_head_takes_its_midline_along() -> None:
    """An origin in a corner makes every x positive, and both halves stay what they are."""
    motion = np.eye(4)
    motion[0, 3] = 120.0
    midline = midline_of(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0)), motion=motion)
    assert midline.offset_mm == pytest.approx(120.0, abs=1.5)
    assert midline.side_of((110.0, 0.0, 0.0)) is Side.RIGHT
    assert midline.side_of((130.0, 0.0, 0.0)) is Side.LEFT


@pytest.mark.parametrize("axis", ["z", "y"])
def test_a_turned_head_turns_its_midline(axis: str) -> None:
    """Ten degrees are found within three."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler(axis, 10.0, degrees=True).as_matrix()
    midline = midline_of(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0)), motion=motion)
    cosine = float(np.dot(midline.normal, motion[:3, 0]))
    assert np.degrees(np.arccos(min(1.0, cosine))) < 3.0


def test_near_the_midline_is_neither_side() -> None:
    """Two millimetres to either side belong to neither half."""
    midline = Midline((1.0, 0.0, 0.0), 5.0)
    points = ((3.1, 9.0, 9.0), (6.9, 9.0, 9.0), (7.1, 0.0, 0.0), (2.9, 0.0, 0.0))
    assert [midline.side_of(point) for point in points] == [Side.MIDLINE, Side.MIDLINE, Side.LEFT, Side.RIGHT]


def test_no_head_has_the_patients_own_midplane() -> None:
    """Without voxels, x decides."""
    midline = find_midline(np.zeros((2, 2, 2), dtype=np.bool_), axial_geometry((2, 2, 2)))
    assert midline == Midline((1.0, 0.0, 0.0), 0.0)
