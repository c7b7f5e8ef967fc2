"""Owns whether two sequences lie where they belong, and the rigid motion that brings one onto the other."""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.resampling import axial_grid, image_from_array, resample_volume
from brainmets.imaging.volume import Volume

# Similarity is judged on voxels of this size: a patient who moved did so by more, and a head still has thousands.
JUDGED_SPACING_MM = 4.0
# Joint histograms of heads (Maes et al. 1997, IEEE Trans Med Imaging 16:187, section IV) are stable with 32 bins.
BINS = 32
# Shrink factors and smoothing (voxels of 2 mm) from coarse to fine.
REGISTERED_SPACING_MM = 2.0
SHRINK_FACTORS = (4, 2, 1)
SMOOTHING_SIGMAS = (2.0, 1.0, 0.0)
ITERATIONS = 100
# Share of voxels that the metric samples; the seed makes the choice repeatable.
SAMPLED_FRACTION = 0.2
SEED = 1
# Threads add the metric up in any order, which moves angles (rad) and shifts (mm) by 1e-8: a micrometre is all that is
# told, so that one study has one result.
PARAMETER_DIGITS = 5


@dataclass(frozen=True, slots=True, eq=False)
class RigidTransform:
    """A rigid motion of the patient.

    Attributes:
        matrix: (4, 4) from where a volume's header says a point lies to where it lies in the other, LPS mm.
        shift_mm: How far it moves the volume's centre.
        angle_deg: How far it turns it.
    """

    matrix: NDArray[np.float64]
    shift_mm: float
    angle_deg: float

    def move(self, volume: Volume) -> Volume:
        """Return the same voxels on the moved grid."""
        return Volume(volume.voxels, Geometry(volume.geometry.shape, self.matrix @ volume.geometry.affine))


def fits_best_in_place(fixed: Volume, moving: Volume) -> bool:
    """True when no shift of `moving` by one coarse voxel, along any axes, resembles `fixed` more.

    Both lie on one grid. Resemblance is mutual information, so that the sequences may differ in contrast.

    References:
        Maes et al. 1997, IEEE Trans Med Imaging 16:187, equation 2.
    """
    ours, theirs = (_binned(_thinned(volume)) for volume in (fixed, moving))
    box = find_bounding_box((ours | theirs) != 0)
    if box is None or min(ours.shape) <= 2:  # noqa: PLR2004 -- nothing to compare, or too thin to be shifted
        return True
    # Farther out both are of the lowest bin, however they are shifted: such pairs are counted without a look at them.
    near = tuple(slice(max(0, axis.start - 2), axis.stop + 2) for axis in box.slices)
    inner = np.ascontiguousarray(ours[near][1:-1, 1:-1, 1:-1])
    dark_count = ours[1:-1, 1:-1, 1:-1].size - inner.size

    def resemblance(shift: tuple[int, ...]) -> float:
        return _mutual_information(inner, theirs[near], shift=shift, dark_count=dark_count)

    in_place = resemblance((0, 0, 0))
    return all(resemblance(shift) <= in_place for shift in itertools.product((-1, 0, 1), repeat=3))


def _thinned(volume: Volume) -> NDArray[np.float32]:
    """Return every so many voxels on each axis: a view, since mutual information needs samples and no averages."""
    steps = (max(1, round(JUDGED_SPACING_MM / spacing_mm)) for spacing_mm in volume.geometry.spacing_mm)
    return volume.voxels[tuple(slice(None, None, step) for step in steps)]


def _binned(voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
    top = np.percentile(voxels, 99.5)
    bottom = voxels.min()
    scaled = (voxels - bottom) / max(float(top - bottom), np.finfo(np.float32).tiny)
    bins: NDArray[np.uint8] = (scaled.clip(0.0, 1.0) * (BINS - 1)).astype(np.uint8)
    return bins


def _mutual_information(
    inner: NDArray[np.uint8], theirs: NDArray[np.uint8], *, shift: tuple[int, ...], dark_count: int
) -> float:
    """Return the mutual information, nats, of a binned volume's inner voxels and another's whole, which is shifted.

    Beyond them lie `dark_count` voxels at which both have the lowest bin.
    """
    moved = theirs[*(slice(1 + step, 1 + step + size) for step, size in zip(shift, inner.shape, strict=True))]
    # OpenCV counts bytes in half the time that np.bincount takes, which wants integers of eight.
    joint = cv2.calcHist([inner.reshape(1, -1), moved.reshape(1, -1)], [0, 1], None, [BINS] * 2, [0, BINS] * 2)
    joint[0, 0] += dark_count
    shares = joint.astype(np.float64) / (inner.size + dark_count)
    expected = shares.sum(axis=1, keepdims=True) * shares.sum(axis=0, keepdims=True)
    seen = shares > 0
    return float((shares[seen] * np.log(shares[seen] / expected[seen])).sum())


def register_rigidly(moving: Volume, *, onto: Volume) -> RigidTransform:
    """Return the motion that brings `moving` onto another volume by the mutual information of both.

    References:
        Mattes et al. 2003, IEEE Trans Med Imaging 22:120 (as SimpleITK implements it).
    """
    images = [_coarse_image(volume) for volume in (onto, moving)]
    start = SimpleITK.CenteredTransformInitializer(
        *images, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SAMPLED_FRACTION, SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK_FACTORS)
    method.SetSmoothingSigmasPerLevel(SMOOTHING_SIGMAS)
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(*images)
    found.SetParameters([round(parameter, PARAMETER_DIGITS) for parameter in found.GetParameters()])
    return _invert(found, moving.geometry)


def _coarse_image(volume: Volume) -> SimpleITK.Image:
    grid = axial_grid(volume.geometry, spacing_mm=REGISTERED_SPACING_MM)
    return image_from_array(resample_volume(volume, grid).voxels, grid)


def _invert(found: SimpleITK.Transform, grid: Geometry) -> RigidTransform:
    """Return the motion of the moving volume; SimpleITK's transform goes from fixed points to moving ones."""
    points_mm = np.vstack([np.zeros(3), np.eye(3)])
    images_mm = np.array([found.TransformPoint(point) for point in points_mm.tolist()])
    to_moving = np.eye(4)
    to_moving[:3, :3] = (images_mm[1:] - images_mm[0]).T
    to_moving[:3, 3] = images_mm[0]
    matrix = np.linalg.inv(to_moving).astype(np.float64)
    centre_mm = grid.corners_mm().mean(axis=0)
    moved_mm = matrix[:3, :3] @ centre_mm + matrix[:3, 3]
    angle_rad = np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1.0, 1.0))
    return RigidTransform(matrix, float(np.linalg.norm(moved_mm - centre_mm)), float(np.degrees(angle_rad)))
