"""Owns the distance between the surfaces of two masks."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.lesions import LesionMask

# The farthest twentieth of a surface does not count (BraTS: Menze et al. 2015, IEEE TMI 34:1993).
HAUSDORFF_PERCENTILE = 95.0
# What BraTS gives a surface that is compared with nothing: the diagonal of its 240 x 240 x 155 mm grid.
ABSENT_SURFACE_MM = 374.0


def hausdorff_95_mm(reference: LesionMask, prediction: LesionMask) -> float:
    """Return the 95th percentile of the distances between two surfaces, the larger direction, in mm.

    A surface is the centres of the voxels that have a neighbour across a face outside the mask; beyond the
    grid all is outside. Two empty masks are 0 mm apart; an empty one is `ABSENT_SURFACE_MM` from any other.
    """
    ours_mm, theirs_mm = (_surface_points_mm(mask) for mask in (reference, prediction))
    if not len(ours_mm) or not len(theirs_mm):
        return 0.0 if len(ours_mm) == len(theirs_mm) else ABSENT_SURFACE_MM
    return max(_directed_mm(ours_mm, theirs_mm), _directed_mm(theirs_mm, ours_mm))


def _surface_points_mm(mask: LesionMask) -> NDArray[np.float64]:
    box = find_bounding_box(mask.voxels)
    if box is None:
        return np.empty((0, 3))
    voxels = mask.voxels[box.slices]
    surface = voxels & ~ndimage.binary_erosion(voxels)
    return mask.geometry.crop(box).index_to_world(np.argwhere(surface).astype(np.float64))


def _directed_mm(from_mm: NDArray[np.float64], to_mm: NDArray[np.float64]) -> float:
    distances_mm, _ = KDTree(to_mm).query(from_mm)
    return float(np.percentile(distances_mm, HAUSDORFF_PERCENTILE))
