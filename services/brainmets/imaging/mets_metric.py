"""Owns the lesion-wise BraTS-METS metric: every metastasis counts the same, whatever its size.

References:
    Moawad et al. 2023, The Brain Tumor Segmentation (BraTS-METS) Challenge 2023, arXiv:2306.00838; the
    constants are those of its published evaluation code.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.evaluation import check_same_grid, overlap
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.result import equivalent_diameter_mm
from brainmets.imaging.surface_distance import ABSENT_SURFACE_MM, hausdorff_95_mm

# The metric counts in voxels of this edge; on any other grid its dilation means another distance.
SPACING_MM = 1.0
SPACING_TOLERANCE_MM = 0.01
# Reference lesions of this volume or less are too small to be asked for.
IGNORED_VOLUME_MM3 = 2.0
# Voxels that share a face, an edge or a corner belong together.
CONNECTIVITY_26 = ndimage.generate_binary_structure(3, 3)
# A voxel's faces and edges, without its corners.
NEIGHBOURHOOD_18 = ndimage.generate_binary_structure(3, 2)
# Upper bounds of the classes of size in which sensitivity is reported: the equivalent sphere's diameter, mm.
SIZE_BOUNDS_MM = (3.0, 6.0, 10.0, float("inf"))


@dataclass(frozen=True, slots=True)
class LesionScore:
    """How one reference lesion was found.

    Attributes:
        volume_mm3: Its volume.
        diameter_mm: Diameter of the sphere of that volume.
        found: Whether any predicted component touches it, or the voxels next to it.
        dice: With the union of those components; 0 when there are none.
        hd95_mm: Likewise; `ABSENT_SURFACE_MM` when there are none.
    """

    volume_mm3: float
    diameter_mm: float
    found: bool
    dice: float
    hd95_mm: float


@dataclass(frozen=True, slots=True)
class LesionwiseScore:
    """How one study's lesions were found.

    Attributes:
        lesions: The reference lesions that count.
        ignored: Number of reference lesions too small to count.
        false_positives_mm3: Volume of each predicted component that touches no reference lesion, ignored or not.
    """

    lesions: tuple[LesionScore, ...]
    ignored: int
    false_positives_mm3: tuple[float, ...]

    @property
    def false_positives(self) -> int:
        """Number of predicted components that touch no reference lesion."""
        return len(self.false_positives_mm3)

    @property
    def dice(self) -> float:
        """Mean Dice over counted lesions and false positives, 0 each; 1 when there are neither."""
        return self._mean([lesion.dice for lesion in self.lesions], false_positive=0.0, nothing=1.0)

    @property
    def hd95_mm(self) -> float:
        """Mean HD95 over counted lesions and false positives, 374 mm each; 0 when there are neither."""
        return self._mean([lesion.hd95_mm for lesion in self.lesions], false_positive=ABSENT_SURFACE_MM, nothing=0.0)

    def _mean(self, scores: list[float], *, false_positive: float, nothing: float) -> float:
        scores = scores + [false_positive] * self.false_positives
        return sum(scores) / len(scores) if scores else nothing


@dataclass(frozen=True, slots=True)
class SizeClass:
    """How many reference lesions of one class of size were found.

    Attributes:
        above_mm: Lower bound of the equivalent diameter, included.
        below_mm: Upper bound, left out.
        lesions: Number of reference lesions.
        found: Number of those that were found.
    """

    above_mm: float
    below_mm: float
    lesions: int
    found: int

    @property
    def sensitivity(self) -> float:
        """Found fraction, NaN when the class is empty."""
        return self.found / self.lesions if self.lesions else float("nan")


def score_lesions(reference: LesionMask, prediction: LesionMask) -> LesionwiseScore:
    """Return the lesion-wise score of a prediction on a 1 mm grid.

    Reference components (26 neighbours) whose dilations by one voxel (18 neighbours) join are one lesion; its
    prediction is the union of the predicted components that touch its dilation.

    Raises:
        InvalidArgumentError: The masks lie on different grids, or the grid's spacing is not 1 mm.
    """
    check_same_grid(reference, prediction)
    _check_spacing(reference)
    box = find_bounding_box(reference.voxels | prediction.voxels)
    if box is None:
        return LesionwiseScore((), ignored=0, false_positives_mm3=())
    # Room for the dilation. Distances do not depend on where the cut-out lies.
    references, predictions = (np.pad(mask.voxels[box.slices], 1) for mask in (reference, prediction))
    geometry = Geometry(references.shape, reference.geometry.affine)
    lesions, dilations = _label_references(references)
    components, component_count = ndimage.label(predictions, structure=CONNECTIVITY_26)
    scores: list[LesionScore] = []
    touched: set[int] = set()
    for label, place in enumerate(ndimage.find_objects(dilations), start=1):
        matched = set(np.unique(components[place][dilations[place] == label]).tolist()) - {0}
        touched |= matched
        # A look into a table is a tenth of np.isin's time.
        belongs = np.zeros(component_count + 1, dtype=np.bool_)
        belongs[list(matched)] = True
        scores.append(_score(LesionMask(lesions == label, geometry), LesionMask(belongs[components], geometry)))
    counted = tuple(score for score in scores if score.volume_mm3 > IGNORED_VOLUME_MM3)
    volumes_mm3 = np.bincount(components.ravel(), minlength=component_count + 1) * geometry.voxel_volume_mm3
    false_mm3 = tuple(float(volumes_mm3[label]) for label in range(1, component_count + 1) if label not in touched)
    return LesionwiseScore(counted, len(scores) - len(counted), false_mm3)


def _check_spacing(mask: LesionMask) -> None:
    if any(abs(spacing_mm - SPACING_MM) > SPACING_TOLERANCE_MM for spacing_mm in mask.geometry.spacing_mm):
        raise InvalidArgumentError(
            "The lesion-wise metric is defined on a 1 mm grid",
            expected="a spacing of 1 mm on every axis",
            got=" x ".join(f"{spacing_mm:.3f}" for spacing_mm in mask.geometry.spacing_mm),
            remedy="resample both masks onto a 1 mm grid first",
        )


def _label_references(voxels: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the labels (D, H, W) of the reference lesions, and those of their dilations."""
    dilated = ndimage.binary_dilation(voxels, structure=NEIGHBOURHOOD_18)
    dilations = ndimage.label(dilated, structure=CONNECTIVITY_26)[0].astype(np.int32)
    return np.where(voxels, dilations, 0), dilations


def _score(lesion: LesionMask, prediction: LesionMask) -> LesionScore:
    volume_mm3 = np.count_nonzero(lesion.voxels) * lesion.geometry.voxel_volume_mm3
    return LesionScore(
        volume_mm3=volume_mm3,
        diameter_mm=equivalent_diameter_mm(volume_mm3),
        found=bool(prediction.voxels.any()),
        dice=overlap(lesion.voxels, prediction.voxels),
        hd95_mm=hausdorff_95_mm(lesion, prediction),
    )


def count_found_by_size(scores: Iterable[LesionwiseScore]) -> tuple[SizeClass, ...]:
    """Return how many lesions of many studies were found, by size: <3, 3-6, 6-10, 10 mm or more."""
    lesions = [lesion for score in scores for lesion in score.lesions]
    classes = []
    for above_mm, below_mm in itertools.pairwise((0.0, *SIZE_BOUNDS_MM)):
        sized = [lesion for lesion in lesions if above_mm <= lesion.diameter_mm < below_mm]
        classes.append(SizeClass(above_mm, below_mm, len(sized), sum(lesion.found for lesion in sized)))
    return tuple(classes)
