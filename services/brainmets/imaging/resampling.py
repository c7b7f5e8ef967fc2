"""Owns the way from one grid to another: intensities onto the networks' grid, probabilities back.

Between grids whose axes are parallel, which most are, each axis is resampled on its own as a matrix product; between
others SimpleITK interpolates linearly.
"""

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from brainmets.imaging.errors import StudyTooLargeError
from brainmets.imaging.geometry import MAX_VOXELS, Geometry, Index
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.volume import Volume

# Axes that lean by less than this are taken for parallel: 0.1 mm over a head.
PARALLEL_TOLERANCE_RAD = 5e-4
# Voxels that lie this near to each other, as a fraction of their spacing, are the same ones.
SAME_VOXEL_FRACTION = 1e-3
# Grids that share less than this on an axis share nothing to speak of.
MIN_OVERLAP_MM = 5.0


def axial_grid(acquired: Geometry, *, spacing_mm: float) -> Geometry:
    """Return the smallest isotropic axial grid whose voxels hold every voxel centre of another.

    Its slices rise towards the head, its rows run towards the back and its columns towards the left. Its axes are the
    acquired ones, in that order and sense, so that no head is interpolated only because its series was angled; the
    patient's own where no acquired slices can be called axial. A grid of that spacing keeps its voxels.

    Raises:
        StudyTooLargeError: It has more voxels than any head: a small file of coarse, steep ones may span a metre.
    """
    axes = _axial_directions(acquired)  # (3, 3), columns towards head, back and left
    along_mm = acquired.corners_mm() @ axes
    first_mm = along_mm.min(axis=0)
    # The last voxel reaches half a voxel beyond its centre.
    steps = np.ceil((along_mm.max(axis=0) - first_mm) / spacing_mm - 0.5 - SAME_VOXEL_FRACTION)
    d, h, w = (int(step) + 1 for step in steps.tolist())
    if math.prod((d, h, w)) > MAX_VOXELS:
        raise StudyTooLargeError(
            "The field of view is too large",
            expected=f"at most {MAX_VOXELS} voxels of {spacing_mm:g} mm around it",
            got=f"{d} x {h} x {w}",
            remedy="crop the series to the head",
        )
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    # The axes are perpendicular and of length 1.
    affine[:3, 3] = axes @ first_mm
    return Geometry((d, h, w), affine)


def _axial_directions(acquired: Geometry) -> NDArray[np.float64]:
    patient = np.eye(3)[:, ::-1]
    order = acquired.axial_axes
    if order is None:
        return patient
    directions = acquired.directions[:, order]
    forward: NDArray[np.float64] = directions * np.sign((directions * patient).sum(axis=0))
    return forward


def grids_overlap(one: Geometry, other: Geometry) -> bool:
    """True when the boxes along the patient's axes around two grids share more than a few millimetres."""
    ours_mm, theirs_mm = one.corners_mm(), other.corners_mm()
    first_mm = np.maximum(ours_mm.min(axis=0), theirs_mm.min(axis=0))
    last_mm = np.minimum(ours_mm.max(axis=0), theirs_mm.max(axis=0))
    return bool((last_mm - first_mm > MIN_OVERLAP_MM).all())


def resample_volume(volume: Volume, grid: Geometry) -> Volume:
    """Return intensities on another grid, zero beyond the volume; finer voxels are averaged into coarser ones."""
    return Volume(_resample(volume.voxels, volume.geometry, grid, average=True), grid)


def resample_like(probability_map: ProbabilityMap, grid: Geometry) -> ProbabilityMap:
    """Return probabilities on another grid, interpolated at its voxel centres and zero beyond the map."""
    return ProbabilityMap(_resample(probability_map.voxels, probability_map.geometry, grid, average=False), grid)


def _resample(voxels: NDArray[np.float32], source: Geometry, target: Geometry, *, average: bool) -> NDArray[np.float32]:
    """Return the resampled voxels; where the target's lie on the source's, a view of them."""
    to_source = source.inverse_affine @ target.affine  # target index to source index
    axes = _parallel_axes(source, target)
    if axes is None:
        return _interpolate_oblique(voxels, source, target)
    resampled = voxels.transpose(axes)
    starts = []
    for axis, source_axis in enumerate(axes):
        line = _Line(
            step=float(to_source[source_axis, axis]),
            start=float(to_source[source_axis, 3]),
            size=voxels.shape[source_axis],
        )
        resampled, start = line.apply(resampled, axis=axis, size=target.shape[axis], average=average)
        starts.append(start)
    if resampled.shape == target.shape:
        return resampled
    # Once for all axes: each time the whole array is copied. New zeros are not written, as `np.pad` does.
    padded = np.zeros(target.shape, dtype=np.float32)
    padded[tuple(slice(start, start + size) for start, size in zip(starts, resampled.shape, strict=True))] = resampled
    return padded


def _parallel_axes(source: Geometry, target: Geometry) -> Index | None:
    """Return the source axis that runs along each target axis, or None when some axis leans."""
    cosines = np.abs(source.directions.T @ target.directions)  # (source axis, target axis)
    axes = cosines.argmax(axis=0)
    leaning = np.abs(cosines - np.eye(3)[:, axes]).max()
    if len(set(axes.tolist())) < len(axes) or leaning > PARALLEL_TOLERANCE_RAD:
        return None
    d, h, w = axes.tolist()
    return d, h, w


@dataclass(frozen=True, slots=True)
class _Line:
    """One axis of the source: target index i lies at source index `start` + i · `step`, of `size` source voxels."""

    step: float
    start: float
    size: int

    def apply(
        self, voxels: NDArray[np.float32], *, axis: int, size: int, average: bool
    ) -> tuple[NDArray[np.float32], int]:
        """Return voxels resampled on one axis, and which of the target's `size` the first of them is."""
        if self._meets_voxels(size):
            return self._pick(voxels, axis=axis, size=size)
        weights = self._weights(size, reach=max(1.0, abs(self.step)) if average else 1.0)
        # As one matrix product: (size, source) times (source, everything else).
        moved = np.moveaxis(voxels, axis, 0)
        product = weights @ moved.reshape(len(moved), -1)
        return np.moveaxis(product.reshape(size, *moved.shape[1:]), 0, axis), 0

    def _meets_voxels(self, size: int) -> bool:
        drift = abs(abs(self.step) - 1.0) * size
        return max(drift, abs(self.start - round(self.start))) <= SAME_VOXEL_FRACTION

    def _pick(self, voxels: NDArray[np.float32], *, axis: int, size: int) -> tuple[NDArray[np.float32], int]:
        """Return a view of the voxels that the target's own lie on, and how far the target reaches before them."""
        sense = round(self.step)
        flipped = voxels if sense > 0 else np.flip(voxels, axis)
        first = round(self.start) if sense > 0 else self.size - 1 - round(self.start)
        inside = slice(max(0, first), max(0, min(self.size, first + size)))
        return flipped[(slice(None),) * axis + (inside,)], max(0, -first)

    def _weights(self, size: int, *, reach: float) -> NDArray[np.float32]:
        """Return (size, source): a triangle of half width `reach` voxels around each target's place, of sum 1.

        At the source's ends the outermost voxel reaches half a voxel outwards, as a voxel does; where voxels are
        averaged, half of a coarser one, which may hold no more than its centre.
        """
        places = self.start + self.step * np.arange(size)
        outwards = max(1.0, reach) / 2 + SAME_VOXEL_FRACTION
        inside = (places >= -outwards) & (places <= self.size - 1 + outwards)
        places = places.clip(0, self.size - 1)
        triangle = np.maximum(0.0, 1.0 - np.abs(places[:, np.newaxis] - np.arange(self.size)) / reach)
        weights = triangle / triangle.sum(axis=1, keepdims=True) * inside[:, np.newaxis]
        rounded: NDArray[np.float32] = weights.astype(np.float32)
        return rounded


def _interpolate_oblique(voxels: NDArray[np.float32], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    resampled = SimpleITK.Resample(
        image_from_array(voxels, source),
        target.shape[::-1],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        *_itk_frame(target),
        0.0,
        SimpleITK.sitkFloat32,
    )
    return SimpleITK.GetArrayFromImage(resampled)


def image_from_array(voxels: NDArray[np.float32], grid: Geometry) -> SimpleITK.Image:
    """Return SimpleITK's image of voxels (D, H, W) on a grid; both count in LPS millimetres."""
    image = SimpleITK.GetImageFromArray(voxels)
    origin_mm, spacing_mm, directions = _itk_frame(grid)
    image.SetOrigin(origin_mm)
    image.SetSpacing(spacing_mm)
    image.SetDirection(directions)
    return image


def _itk_frame(grid: Geometry) -> tuple[list[float], list[float], list[float]]:
    """Return a grid's origin, spacing and row-major direction cosines in SimpleITK's order (column, row, slice)."""
    return (
        grid.affine[:3, 3].tolist(),
        list(grid.spacing_mm[::-1]),
        grid.directions[:, ::-1].ravel().tolist(),
    )
