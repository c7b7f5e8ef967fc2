"""A field of view that cuts a head is found on whichever side it cuts, and what has no head's shape is none."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.head_extent import find_cuts, find_ends, find_no_head
from heads import head_geometry
from imaging_cases import AXIAL, CORONAL, SAGITTAL, make_geometry

SPACING_MM = 4.0
# Along the patient's own axes.
GRID = head_geometry(AXIAL, spacing_mm=(SPACING_MM, SPACING_MM, SPACING_MM), reach_mm=160.0)
SIDES = {
    "right": (-1, 0, 0),
    "left": (1, 0, 0),
    "front": (0, -1, 0),
    "back": (0, 1, 0),
    "bottom": (0, 0, -1),
    "top": (0, 0, 1),
}
SENSES = np.array([1.0, -1.0, -1.0])
BRAIN_MM = (140.0, 170.0, 130.0)
HEAD_MM = (160.0, 200.0, 230.0)
TILTED = Rotation.from_euler("x", 20.0, degrees=True).as_matrix() @ AXIAL


def field_of_view(
    reach_mm: float = 130.0,
    *,
    directions: NDArray[np.float64] = AXIAL,
    cut: tuple[int, int, int] = (0, 0, 0),
    by_mm: float = 0.0,
) -> Geometry:
    """Return a cube about the origin that reaches this far, less on the side that `cut` points to."""
    size = int(2 * reach_mm / SPACING_MM) + 1
    towards = directions.T @ np.array(cut, dtype=np.float64)  # along the cube's own axes
    shape = size - np.rint(np.abs(towards) * by_mm / SPACING_MM).astype(int)
    first = -reach_mm + by_mm * (towards < -0.5)
    d, h, w = shape.tolist()
    spacing_mm = (SPACING_MM,) * 3
    return make_geometry((d, h, w), spacing_mm=spacing_mm, directions=directions, origin_mm=tuple(directions @ first))


def ellipsoid_in(
    acquired: Geometry, diameters_mm: tuple[float, float, float], *, box: bool = False, tube: bool = False
) -> tuple[NDArray[np.bool_], Geometry]:
    """Return a body about the origin as it is seen in a field of view, cropped on its axial grid."""
    points_mm = GRID.index_to_world(np.indices(GRID.shape, dtype=np.float32).reshape(3, -1).T)
    places = acquired.world_to_index(points_mm)
    seen = ((places > -0.5) & (places < np.array(acquired.shape) - 0.5)).all(axis=1)
    scaled = np.abs(points_mm) / (np.array(diameters_mm) / 2)
    inside = (scaled[:, :2] if tube else scaled) ** 2
    body = (scaled.max(axis=1) < 1.0) if box else (inside.sum(axis=1) < 1.0)
    mask = (body & seen).reshape(GRID.shape)
    found = find_bounding_box(mask)
    assert found is not None
    return mask[found.slices], GRID.crop(found)


def findings_of(acquired: Geometry, diameters_mm: tuple[float, float, float], **shape: bool) -> tuple[Finding, ...]:
    """Return all that is said of a body in a field of view."""
    mask, grid = ellipsoid_in(acquired, diameters_mm, **shape)
    ends = find_ends(mask, grid, acquired=acquired)
    return (*find_cuts(ends), *find_no_head(mask, grid, ends=ends))


@pytest.mark.parametrize("directions", [AXIAL, CORONAL, AXIAL * SENSES], ids=["axial", "coronal", "negated"])
@pytest.mark.parametrize("side", SIDES)
def test_the_side_that_cuts_is_named(side: str, directions: NDArray[np.float64]) -> None:
    """Whatever the plane and sense in which slices were acquired."""
    cut = field_of_view(reach_mm=110.0, directions=directions, cut=SIDES[side], by_mm=80.0)
    mask, grid = ellipsoid_in(cut, BRAIN_MM)
    touching = {end.name for end in find_ends(mask, grid, acquired=cut) if end.touching_fraction > 0.2}
    assert touching == {side}


@pytest.mark.parametrize("depth_mm", [10.0, 20.0, 40.0])
def test_the_share_that_touches_is_that_of_an_ellipsoid(depth_mm: float) -> None:
    """At a depth of a fraction t of the half axis the cross-section is 1 - (1 - t)² of the largest."""
    half_mm = BRAIN_MM[2] / 2
    cut = field_of_view(cut=SIDES["top"], by_mm=130.0 - half_mm + depth_mm)
    mask, grid = ellipsoid_in(cut, BRAIN_MM)
    (top,) = (end for end in find_ends(mask, grid, acquired=cut) if end.name == "top")
    # Within what the two coarse layers at the end differ by.
    assert top.touching_fraction == pytest.approx(1.0 - (1.0 - depth_mm / half_mm) ** 2, abs=0.1)
    assert top.extent_mm == pytest.approx(BRAIN_MM[2] - depth_mm, abs=6.0)


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, TILTED], ids=["axial", "sagittal", "tilted"])
@pytest.mark.parametrize("size_mm", [BRAIN_MM, HEAD_MM, (115.0, 140.0, 110.0)], ids=["brain", "head", "child's brain"])
def test_a_whole_head_has_no_finding(size_mm: tuple[float, float, float], directions: NDArray[np.float64]) -> None:
    """With a margin around it, in any plane."""
    assert findings_of(field_of_view(directions=directions), size_mm) == ()


def test_a_brain_stem_that_leaves_the_field_of_view_is_none() -> None:
    """A tip of the brain is no cut."""
    assert findings_of(field_of_view(cut=SIDES["bottom"], by_mm=130.0 - BRAIN_MM[2] / 2 + 4.0), BRAIN_MM) == ()


def test_a_missing_cerebellum_is_a_finding() -> None:
    """What ends 25 mm above the lowest part of the brain lacks it."""
    (finding,) = findings_of(field_of_view(cut=SIDES["bottom"], by_mm=130.0 - BRAIN_MM[2] / 2 + 25.0), BRAIN_MM)
    assert (finding.code, finding.severity) == (FindingCode.CUT_FIELD_OF_VIEW, Severity.WARNING)
    assert "bottom" in finding.message


@pytest.mark.parametrize("directions", [AXIAL, TILTED], ids=["axial", "tilted"])
@pytest.mark.parametrize(("seen_fraction", "severity"), [(0.8, Severity.WARNING), (0.3, Severity.SEVERE)])
@pytest.mark.parametrize("side", ["top", "left", "back"])
def test_less_than_half_a_brain_is_severe(
    side: str, seen_fraction: float, severity: Severity, directions: NDArray[np.float64]
) -> None:
    """On the end of the field of view that was acquired, also where its corners on the axial grid are empty."""
    size_mm = BRAIN_MM[int(np.flatnonzero(SIDES[side])[0])]
    tilted_side = tuple(np.rint(directions @ AXIAL.T @ SIDES[side]).astype(int).tolist())
    by_mm = 130.0 - size_mm / 2 + (1.0 - seen_fraction) * size_mm
    (finding,) = findings_of(field_of_view(directions=directions, cut=tilted_side, by_mm=by_mm), BRAIN_MM)
    assert (finding.code, finding.severity) == (FindingCode.CUT_FIELD_OF_VIEW, severity)
    # The midline is found from what is seen.
    assert ("sides near the midline are uncertain" in finding.message) == (side == "left")


@pytest.mark.parametrize(
    ("acquired", "size_mm", "shape"),
    [
        (field_of_view(cut=SIDES["bottom"], by_mm=60.0), (130.0, 140.0, 500.0), {"tube": True}),
        (field_of_view(170.0), (310.0, 220.0, 600.0), {}),
        (field_of_view(), (60.0, 90.0, 120.0), {}),
        (field_of_view(), (85.0, 85.0, 70.0), {}),
        (field_of_view(), (120.0, 120.0, 200.0), {"box": True}),
    ],
    ids=["knee", "trunk", "forearm", "small ball", "box"],
)
def test_what_has_no_heads_size_or_shape_is_refused(
    acquired: Geometry, size_mm: tuple[float, float, float], shape: dict[str, bool]
) -> None:
    """Severe, for a mask of it would be a mask of nothing."""
    findings = findings_of(acquired, size_mm, **shape)
    assert (FindingCode.NOT_A_HEAD, Severity.SEVERE) in {(finding.code, finding.severity) for finding in findings}


def test_shoulders_do_not_make_a_head_too_wide() -> None:
    """Only the part below the vertex is measured."""
    acquired = field_of_view(200.0)
    head, grid = ellipsoid_in(acquired, HEAD_MM)
    sides = round(120.0 / SPACING_MM)  # 400 mm from shoulder to shoulder
    body = np.pad(head, ((0, 0), (0, 0), (sides, sides)))
    body[: body.shape[0] // 4] = True
    affine = grid.affine.copy()
    affine[0, 3] -= sides * SPACING_MM
    wide = Geometry(body.shape, affine)
    assert find_no_head(body, wide, ends=find_ends(body, wide, acquired=acquired)) == ()


def test_a_box_is_cut_out_of_the_grid() -> None:
    """A foreground that is cropped lies where its grid says."""
    acquired = field_of_view()
    mask, grid = ellipsoid_in(acquired, BRAIN_MM)
    part = Box((0, 0, 0), (mask.shape[0] // 2, *mask.shape[1:]))
    ends = find_ends(mask[part.slices], grid.crop(part), acquired=acquired)
    assert all(end.touching_fraction == 0.0 for end in ends)
