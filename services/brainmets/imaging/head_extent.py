"""Owns how much of a head a study shows: what the field of view cuts off the brain, and whether it is a head at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.sequence import Sequence

# Extents are judged on voxels of about this size.
COARSE_MM = 4.0
# Largest share of its largest parallel cross-section with which a brain may touch the end of the field of view: of an
# ellipsoid it takes a tenth of a half axis off.
# Measured: uncut brains up to 0.13, where the stem leaves; by 5 to 7 mm too small a field of view 0.22 to 0.48.
MAX_TOUCHING_FRACTION = 0.2
# Half of an adult brain along x, y, z (Talairach: 136 x 172 x 118 mm).
HALF_BRAIN_MM = (70.0, 85.0, 60.0)
# A tube that is this long and as wide at both ends as anywhere is a limb or a trunk: heads narrow towards the vertex.
TUBE_FRACTION = 0.7
TUBE_MM = 120.0
# Width and length of what lies less than this below the top, which shoulders do not: heads of children and adults
# measure 90 to 200 mm (breadth, with ears) and 110 to 250 mm (length, with nose); brains of newborns 80 mm.
UPPER_PART_MM = 150.0
HEAD_RANGES_MM = ((80.0, 260.0), (80.0, 300.0))
# A newborn's brain measures 350 ml.
MIN_VOLUME_MM3 = 300_000.0
# Share of its box that a body fills: an ellipsoid 0.52, heads and brains 0.42 to 0.61 (measured), a bottle 0.79.
MAX_BOX_FRACTION = 0.72
# Names of the ends along -x, x, -y, y, -z, z of LPS.
_ENDS = (("right", "left"), ("front", "back"), ("bottom", "top"))


@dataclass(frozen=True, slots=True)
class FieldEnd:
    """One of the six ends of the field of view, and how a brain or a head meets it.

    Attributes:
        name: Which side of the patient it lies on.
        axis: The patient's axis, 0 to 2 for x, y, z, that it lies across.
        touching_fraction: Cross-section there, of the largest one parallel to it.
        extent_mm: How far brain or head reach along this axis of the field of view.
    """

    name: str
    axis: int
    touching_fraction: float
    extent_mm: float

    @property
    def cuts(self) -> bool:
        """Whether it cuts off more than is lost by chance."""
        return self.touching_fraction > MAX_TOUCHING_FRACTION


def find_ends(body: NDArray[np.bool_], grid: Geometry, *, acquired: Geometry) -> tuple[FieldEnd, ...]:
    """Return how a brain or a head (D, H, W) on `grid` meets the six ends of the field of view it was `acquired` in."""
    return tuple(end for axis in range(3) for end in _find_two_ends(body, grid, acquired=acquired, axis=axis))


def _find_two_ends(
    body: NDArray[np.bool_], grid: Geometry, *, acquired: Geometry, axis: int
) -> tuple[FieldEnd, FieldEnd]:
    towards = acquired.inverse_affine[axis, :3]
    across = int(np.abs(towards).argmax())
    first, last = _ENDS[across] if towards[across] > 0 else _ENDS[across][::-1]
    far_mm = length_mm(acquired, axis)
    places_mm = places_along(grid, acquired=acquired, axis=axis)[body[coarse_steps(grid)]]
    layers = np.bincount((places_mm.clip(0.0, far_mm) / COARSE_MM).astype(np.intp))
    extent_mm = float(np.ptp(places_mm)) + COARSE_MM

    def end(name: str, depths_mm: NDArray[np.float64]) -> FieldEnd:
        return FieldEnd(name, across, float(np.count_nonzero(depths_mm < COARSE_MM) / layers.max()), extent_mm)

    return end(first, places_mm), end(last, far_mm - places_mm)


def coarse_steps(grid: Geometry) -> tuple[slice, slice, slice]:
    """Return what takes from an array (D, H, W) the voxels that heads are judged on."""
    d, h, w = (slice(None, None, max(1, round(COARSE_MM / spacing_mm))) for spacing_mm in grid.spacing_mm)
    return d, h, w


def places_along(grid: Geometry, *, acquired: Geometry, axis: int) -> NDArray[np.float64]:
    """Return (D, H, W), how far along an acquired axis each coarse voxel of a grid lies, mm from its first voxel."""
    along = (acquired.inverse_affine @ grid.affine)[axis] * acquired.spacing_mm[axis]
    d, h, w = (
        np.arange(size)[steps] * step_mm
        for size, steps, step_mm in zip(grid.shape, coarse_steps(grid), along[:3], strict=True)
    )
    places_mm: NDArray[np.float64] = d[:, np.newaxis, np.newaxis] + h[:, np.newaxis] + (w + along[3])
    return places_mm


def length_mm(acquired: Geometry, axis: int) -> float:
    """Return how far the last voxel of an acquired axis lies from its first."""
    return (acquired.shape[axis] - 1) * acquired.spacing_mm[axis]


def find_cuts(ends: tuple[FieldEnd, ...]) -> tuple[Finding, ...]:
    """Return what is to be said of a field of view that cuts the brain."""
    cutting = [end for end in ends if end.cuts]
    if not cutting:
        return ()
    severe = any(end.extent_mm < HALF_BRAIN_MM[end.axis] for end in cutting)
    names = ", ".join(sorted(end.name for end in cutting))
    rest = "less than half of a brain is seen" if severe else "what lies outside was not looked at"
    # The midline is found from what is seen: with half of the brain's width in view, it lay such that up to 13 % of
    # the brain's voxels were given the other side.
    beside = "; sides near the midline are uncertain" if any(end.axis == 0 for end in cutting) else ""
    message = f"The field of view cuts the brain off ({names}): {rest}{beside}."
    severity = Severity.SEVERE if severe else Severity.WARNING
    return (Finding(FindingCode.CUT_FIELD_OF_VIEW, message, Sequence.T1C, severity),)


def find_no_head(foreground: NDArray[np.bool_], grid: Geometry, *, ends: tuple[FieldEnd, ...]) -> tuple[Finding, ...]:
    """Return what is to be said of a foreground, cropped to itself on an axial grid, that is no head's.

    Args:
        foreground: (D, H, W).
        grid: Its grid.
        ends: How it meets the ends of the field of view.
    """
    why = _why_no_head(foreground, grid, ends=ends)
    if why is None:
        return ()
    message = f"The T1c does not look like a head: {why}."
    return (Finding(FindingCode.NOT_A_HEAD, message, Sequence.T1C, Severity.SEVERE),)


def _why_no_head(foreground: NDArray[np.bool_], grid: Geometry, *, ends: tuple[FieldEnd, ...]) -> str | None:
    cut_axes = {end.axis for end in ends if end.cuts}
    through = [end for end in ends if end.name in {"top", "bottom"} and end.touching_fraction >= TUBE_FRACTION]
    if len(through) == 2 and through[0].extent_mm >= TUBE_MM:  # noqa: PLR2004 -- both ends
        return "it goes through the field of view from top to bottom without narrowing"
    upper = foreground[-round(UPPER_PART_MM / grid.spacing_mm[0]) :]
    for axis, (low_mm, high_mm), name in zip((0, 1), HEAD_RANGES_MM, ("wide", "long"), strict=True):
        extent_mm = _extent_mm(upper, grid, axis=axis)
        if extent_mm > high_mm or (extent_mm < low_mm and axis not in cut_axes):
            return f"it is {extent_mm:.0f} mm {name}"
    if cut_axes:
        return None
    voxel_count = np.count_nonzero(foreground)
    if voxel_count * grid.voxel_volume_mm3 < MIN_VOLUME_MM3:
        return f"it measures {voxel_count * grid.voxel_volume_mm3 / 1000:.0f} ml"
    return "it fills its box as a bottle does" if voxel_count > MAX_BOX_FRACTION * foreground.size else None


def _extent_mm(foreground: NDArray[np.bool_], grid: Geometry, *, axis: int) -> float:
    """Return how far a foreground reaches along a patient's axis, 0 to 2 for x, y, z."""
    along = 2 - axis  # of an axial grid
    occupied = np.flatnonzero(foreground.any(axis=tuple(other for other in range(3) if other != along)))
    return float(np.ptp(occupied) + 1) * grid.spacing_mm[along] if occupied.size else 0.0
