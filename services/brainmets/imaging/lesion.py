"""Owns one lesion: what is measured of it."""

from dataclasses import dataclass

from brainmets.imaging.geometry import Box
from brainmets.imaging.midline import Side


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion and its measurements.

    Attributes:
        label: Its number in the instance map, from 1, by falling volume.
        volume_mm3: Volume.
        longest_axial_diameter_mm: Longest diameter in an axial plane, as acquired where the series was angled.
        perpendicular_axial_diameter_mm: Longest diameter perpendicular to that one in the same plane.
        longest_diameter_mm: Longest diameter in any direction.
        bounding_box: Box of voxels that holds it.
        centroid_mm: Centre of mass (x, y, z) in LPS.
        mean_probability: Mean over its voxels, in [0, 1]; not a calibrated probability of disease.
        max_probability: Largest among its voxels, in [0, 1].
        side: Side of the brain that its centroid lies on.
    """

    label: int
    volume_mm3: float
    longest_axial_diameter_mm: float
    perpendicular_axial_diameter_mm: float
    longest_diameter_mm: float
    bounding_box: Box
    centroid_mm: tuple[float, float, float]
    mean_probability: float
    max_probability: float
    side: Side
