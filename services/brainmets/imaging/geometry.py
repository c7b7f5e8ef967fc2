"""Owns where a volume's voxels lie in the patient: one grid, one affine, and boxes on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import SingularAffineError

# A head at 0.5 mm in every direction; 512 MiB in float32.
MAX_VOXELS = 512**3
# A determinant below this, of columns scaled to length 1, is a grid flatter than rounding: its axes lie in a plane.
MIN_INDEPENDENCE = 1e-3
# Grids whose corners agree within this share their voxels: float32 headers round to about a micrometre.
SAME_GRID_TOLERANCE_MM = 1e-3
# Axial series are angled along the skull base or the commissures, by up to some 25 degrees: to whoever acquired and
# reads them their slices are the axial ones, and the head lies straight in them.
MAX_LEAN_DEG = 30.0
# Cosine between axes that count as perpendicular: DICOM writes direction cosines with few digits.
MAX_SHEAR = 1e-3

Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels on the axes (slice, row, column): `start` inside, `stop` one past the last."""

    start: Index
    stop: Index

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What cuts the box out of an array (D, H, W)."""
        d, h, w = (slice(first, last) for first, last in zip(self.start, self.stop, strict=True))
        return d, h, w

    @property
    def shape(self) -> Index:
        """Voxels on each axis."""
        d, h, w = (last - first for first, last in zip(self.start, self.stop, strict=True))
        return d, h, w

    def clipped(self, shape: Index) -> "Box":
        """Return the part of the box that lies inside an array (D, H, W)."""
        axes = zip(self.start, self.stop, shape, strict=True)
        return _box((max(0, first), min(last, limit)) for first, last, limit in axes)

    def seen_from(self, origin: Index) -> "Box":
        """Return the box with its voxels counted from another one."""
        return _box((first - at, last - at) for first, last, at in zip(self.start, self.stop, origin, strict=True))


def _box(axes: Iterable[tuple[int, int]]) -> Box:
    d, h, w = axes
    return Box((d[0], h[0], w[0]), (d[1], h[1], w[1]))


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in the patient coordinate system.

    Attributes:
        shape: (D, H, W): slices, rows, columns.
        affine: (4, 4) float64 from an index (slice, row, column, 1) of a voxel's centre to LPS millimetres:
            x towards the patient's left, y towards the back, z towards the head.

    Raises:
        SingularAffineError: The affine is not finite, or does not span space.

    References:
        DICOM PS3.3 C.7.6.2.1.1, the patient coordinate system.
    """

    shape: Index
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise _singular("a finite 4 x 4 matrix", got="another")
        lengths_mm = np.linalg.norm(affine[:3, :3], axis=0)
        if not lengths_mm.all() or abs(np.linalg.det(affine[:3, :3] / lengths_mm)) < MIN_INDEPENDENCE:
            raise _singular("three axes that span space", got="axes of length 0 or in one plane")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        """Compare shapes and exact affines; `matches` allows for rounding."""
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and bool(np.array_equal(self.affine, other.affine))

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels on each axis (slice, row, column), mm."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return d, h, w

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel, mm³, also where the axes are not perpendicular."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors (3, 3), one column an axis, in LPS."""
        directions: NDArray[np.float64] = self.affine[:3, :3] / self.spacing_mm
        return directions

    @cached_property
    def is_sheared(self) -> bool:
        """Whether its axes are not perpendicular."""
        return bool(np.abs(self.directions.T @ self.directions - np.eye(3)).max() > MAX_SHEAR)

    @cached_property
    def axial_axes(self) -> Index | None:
        """The array axes that run nearest to the patient's z, y and x.

        None where they lean by more than `MAX_LEAN_DEG`, or are not perpendicular, so that no slices of the grid can be
        called axial.
        """
        cosines = np.abs(self.directions)
        z, y, x = cosines.argmax(axis=1)[::-1].tolist()
        leaning = cosines[[2, 1, 0], [z, y, x]].min() < np.cos(np.deg2rad(MAX_LEAN_DEG))
        return None if self.is_sheared or leaning else (z, y, x)

    @cached_property
    def angulation_deg(self) -> float:
        """The angle between the normal of the grid's axial slices and the patient's z.

        0 where no slices of the grid can be called axial, and the patient's own are meant.
        """
        if self.axial_axes is None:
            return 0.0
        x, y, z = np.abs(self.directions[:, self.axial_axes[0]]).tolist()
        # An arc cosine would lose half of its digits near 0.
        return float(np.rad2deg(np.arctan2(np.hypot(x, y), z)))

    @cached_property
    def inverse_affine(self) -> NDArray[np.float64]:
        """(4, 4) from LPS millimetres to an index (slice, row, column, 1)."""
        inverse: NDArray[np.float64] = np.linalg.inv(self.affine).astype(np.float64)
        return inverse

    def index_to_world(self, indices: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the LPS millimetres (N, 3) of indices (N, 3), which need not be whole or inside."""
        world_mm: NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return world_mm

    def world_to_index(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the indices (N, 3) of LPS millimetres (N, 3), not rounded."""
        indices: NDArray[np.float64] = points_mm @ self.inverse_affine[:3, :3].T + self.inverse_affine[:3, 3]
        return indices

    def corners_mm(self) -> NDArray[np.float64]:
        """Return the centres (8, 3) of the voxels at the grid's corners, LPS mm."""
        ends = np.stack(np.meshgrid(*((0, size - 1) for size in self.shape), indexing="ij"), axis=-1)
        return self.index_to_world(ends.reshape(-1, 3))

    def crop(self, box: Box) -> Self:
        """Return the grid of a box of this one."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(np.array([box.start]))[0]
        return type(self)(box.shape, affine)

    def matches(self, other: Self) -> bool:
        """True when both grids have the same voxels, but for rounding."""
        if self.shape != other.shape:
            return False
        apart_mm = np.abs(self.corners_mm() - other.corners_mm()).max()
        return bool(apart_mm <= SAME_GRID_TOLERANCE_MM)


def _singular(expected: str, *, got: str) -> SingularAffineError:
    return SingularAffineError(
        "The grid does not place its voxels in the patient",
        expected=expected,
        got=got,
        remedy="export the series again with its orientation",
    )
