"""Grids, boxes and points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainmets.imaging.geometry import Box, Geometry
from brainmets.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

# A kilometre: beyond it computing with coordinates would overflow at last.
MAX_COORDINATE_MM = 1e6


def geometry_to_proto(geometry: Geometry) -> result_pb2.Geometry:
    """Write a grid: shape and row-major LPS affine."""
    return result_pb2.Geometry(shape=geometry.shape, affine_lps=geometry.affine.ravel().tolist())


def geometry_from_proto(message: result_pb2.Geometry) -> Geometry:
    """Read a grid.

    Raises:
        ValueError: The message does not hold 3 sizes and 16 numbers, or one that is no place.
        SingularAffineError: The numbers do not span space.
    """
    slices, rows, columns = message.shape
    affine = np.array(message.affine_lps, dtype=np.float64).reshape(4, 4)
    # Written so that a NaN is refused too.
    if not np.abs(affine).max() <= MAX_COORDINATE_MM:
        text = f"a coordinate beyond {MAX_COORDINATE_MM:g} mm"
        raise ValueError(text)
    return Geometry(shape=(slices, rows, columns), affine=affine)


def box_to_proto(box: Box) -> result_pb2.VoxelBox:
    """Write a half-open voxel box."""
    return result_pb2.VoxelBox(start=box.start, stop=box.stop)


def point_to_proto(point_mm: Sequence[float]) -> result_pb2.PatientPoint:
    """Write an LPS point, mm."""
    x_mm, y_mm, z_mm = point_mm
    return result_pb2.PatientPoint(x_mm=x_mm, y_mm=y_mm, z_mm=z_mm)
