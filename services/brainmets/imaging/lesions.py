"""Owns lesions: probabilities become a mask, the mask becomes lesions, and each lesion is measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.brain_mask import BrainMask
from brainmets.imaging.components import Components
from brainmets.imaging.diameters import measure_diameters
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.midline import Midline
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.probability_map import ProbabilityMap

# A candidate of which less than this lies in the brain is none of the brain's. Well below a half: a metastasis of the
# dura lies on the border, and a lost lesion is worse than a false candidate.
INSIDE_FRACTION = 0.2
# Share of a volume, above what rounding of a grid's directions makes of it: no angled study loses a lesion by that.
VOLUME_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class LesionMask:
    """Which voxels of a grid are lesion.

    Attributes:
        voxels: (D, H, W).
        geometry: The grid.

    Raises:
        InternalError: The voxels do not fit the grid.
    """

    voxels: NDArray[np.bool_]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape or self.voxels.dtype != np.bool_:
            raise _misfit(f"bool {self.geometry.shape}", f"{self.voxels.dtype} {self.voxels.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class LesionInstance:
    """One lesion of a grid.

    Attributes:
        box: The smallest box of the grid that holds the lesion.
        mask: Which voxels of the box are the lesion, on the box's own grid.

    Raises:
        InternalError: The mask does not fit the box.
    """

    box: Box
    mask: LesionMask

    def __post_init__(self) -> None:
        if self.mask.geometry.shape != self.box.shape:
            raise _misfit(f"a mask of {self.box.shape}", f"{self.mask.geometry.shape}")

    def points_mm(self) -> NDArray[np.float64]:
        """Return the LPS points (N, 3) of the lesion's voxels."""
        return self.mask.geometry.index_to_world(np.argwhere(self.mask.voxels))


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMap:
    """Which lesion each voxel of a grid belongs to.

    Attributes:
        geometry: The grid.
        lesions: By falling volume: lesion n is label n.
    """

    geometry: Geometry
    lesions: tuple[LesionInstance, ...]

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.lesions)

    @property
    def labels(self) -> NDArray[np.int32]:
        """(D, H, W): 0 beside the lesions, 1 to `count` inside."""
        labels = np.zeros(self.geometry.shape, dtype=np.int32)
        for label, lesion in enumerate(self.lesions, start=1):
            labels[lesion.box.slices][lesion.mask.voxels] = label
        return labels

    @property
    def mask(self) -> LesionMask:
        """All lesions together."""
        voxels = np.zeros(self.geometry.shape, dtype=np.bool_)
        for lesion in self.lesions:
            voxels[lesion.box.slices] |= lesion.mask.voxels
        return LesionMask(voxels, self.geometry)


def binarize(probability_map: ProbabilityMap, threshold: float) -> LesionMask:
    """Return the voxels whose probability is the threshold or more."""
    return LesionMask(probability_map.voxels >= threshold, probability_map.geometry)


def find_candidates(probability_map: ProbabilityMap, point: OperatingPoint) -> InstanceMap:
    """Return the lesions that an operating point makes of probabilities, in the brain or not, by falling volume."""
    mask = binarize(probability_map, point.threshold)
    found = find_lesions(mask, min_volume_mm3=point.min_lesion_volume_mm3)
    reaching = (
        lesion
        for lesion in found.lesions
        if (probability_map.voxels[lesion.box.slices][lesion.mask.voxels] >= point.min_peak_probability).any()
    )
    return InstanceMap(found.geometry, tuple(reaching))


def find_lesions(mask: LesionMask, *, min_volume_mm3: float) -> InstanceMap:
    """Return the mask's 26-connected components of a volume or more, numbered by falling volume.

    Voxels that share a face, an edge or a corner belong together, as in the BraTS-METS evaluation (`mets_metric.py`).
    """
    box = find_bounding_box(mask.voxels)
    if box is None:
        return InstanceMap(mask.geometry, ())
    components = Components.find(np.pad(mask.voxels[box.slices], 1), diagonal=True)
    # Stable, so that lesions of one size keep the order of their first voxels and a study its numbers.
    by_size = np.argsort(-components.voxel_counts, kind="stable")
    volumes_mm3 = components.voxel_counts[by_size] * mask.geometry.voxel_volume_mm3
    kept = by_size[volumes_mm3 >= min_volume_mm3 * (1.0 - VOLUME_ROUNDING)].tolist()
    d, h, w = box.start
    first = (1 - d, 1 - h, 1 - w)  # the grid's first voxel, counted from the frame's
    lesions = []
    for component in kept:
        place, voxels = components.cut_out(component)
        lesion_box = place.seen_from(first)
        lesions.append(LesionInstance(lesion_box, LesionMask(voxels, mask.geometry.crop(lesion_box))))
    return InstanceMap(mask.geometry, tuple(lesions))


def drop_outside_brain(instances: InstanceMap, brain: BrainMask, grid: Geometry) -> InstanceMap:
    """Return the lesions of which at least `INSIDE_FRACTION` lies in the brain, numbered anew in their order.

    Args:
        instances: The candidates, on any grid.
        brain: Where the brain is; nothing is left out when that is not known.
        grid: The grid that the brain's mask was taken from.
    """
    if brain.step == 0 or instances.count == 0:
        return instances
    # Beyond the grid there is no brain.
    told = np.pad(brain.unpack(grid), 1)
    inside = (
        lesion
        for lesion in instances.lesions
        if _share_inside(lesion.points_mm(), told, grid=grid, step=brain.step) >= INSIDE_FRACTION
    )
    return InstanceMap(instances.geometry, tuple(inside))


def _share_inside(points_mm: NDArray[np.float64], told: NDArray[np.bool_], *, grid: Geometry, step: int) -> float:
    """Return the share of LPS points (N, 3) whose nearest told voxel is brain; `told` has one more at each end."""
    nearest = np.rint(grid.world_to_index(points_mm) / step) + 1.0
    places = nearest.clip(0.0, np.array(told.shape) - 1.0).astype(np.intp)
    return float(np.count_nonzero(told[tuple(places.T)]) / len(points_mm))


def measure_lesions(instances: InstanceMap, probability_map: ProbabilityMap, *, midline: Midline) -> tuple[Lesion, ...]:
    """Measure every lesion, in order of their labels.

    Args:
        instances: The lesions.
        probability_map: What they were decided from, on the same grid.
        midline: The brain's midsagittal plane, which tells left from right.
    """
    return tuple(
        _measure(lesion, probability_map, label=label, midline=midline)
        for label, lesion in enumerate(instances.lesions, start=1)
    )


def _measure(lesion: LesionInstance, probability_map: ProbabilityMap, *, label: int, midline: Midline) -> Lesion:
    voxels, geometry = lesion.mask.voxels, lesion.mask.geometry
    probabilities = probability_map.voxels[lesion.box.slices][voxels]
    diameters = measure_diameters(voxels, geometry)
    x_mm, y_mm, z_mm = geometry.index_to_world(np.argwhere(voxels).mean(axis=0, keepdims=True))[0].tolist()
    return Lesion(
        label=label,
        volume_mm3=len(probabilities) * geometry.voxel_volume_mm3,
        longest_axial_diameter_mm=diameters.longest_axial_mm,
        perpendicular_axial_diameter_mm=diameters.perpendicular_axial_mm,
        longest_diameter_mm=diameters.longest_mm,
        bounding_box=lesion.box,
        centroid_mm=(x_mm, y_mm, z_mm),
        # Blending and interpolation may leave a probability of 1 a rounding error above it.
        mean_probability=min(1.0, float(probabilities.mean(dtype=np.float64))),
        max_probability=min(1.0, float(probabilities.max())),
        side=midline.side_of((x_mm, y_mm, z_mm)),
    )


def _misfit(expected: str, got: str) -> InternalError:
    return InternalError(
        "Lesion voxels do not fit their grid", expected=expected, got=got, remedy="report it as a defect of brainmets"
    )
