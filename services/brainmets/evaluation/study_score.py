"""Owns a study's score: how what was found compares with the reference, by every metric."""

from dataclasses import dataclass

import numpy as np

from brainmets.imaging.evaluation import dice, slice_dice
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.mets_metric import LesionwiseScore, score_lesions
from brainmets.imaging.surface_distance import hausdorff_95_mm


@dataclass(frozen=True, slots=True)
class StudyScore:
    """How one study was segmented.

    Attributes:
        study: Its name.
        with_skull: Whether the head had a skull, as the service sees it.
        dice: The patient's Dice; 1 when neither side has a lesion.
        slice_dice: Mean Dice over the slices on which either side has a lesion.
        hd95_mm: 95th percentile of surface distances of all lesions together; 374 when one side alone has any.
        lesionwise: The BraTS-METS score.
        reference_mm3: Volume of the reference.
        predicted_mm3: Volume of all that was predicted.
    """

    study: str
    with_skull: bool
    dice: float
    slice_dice: float
    hd95_mm: float
    lesionwise: LesionwiseScore
    reference_mm3: float
    predicted_mm3: float

    @property
    def lesions_found(self) -> int:
        """Number of reference lesions that were found, of those that count."""
        return sum(lesion.found for lesion in self.lesionwise.lesions)


def score_study(name: str, reference: LesionMask, prediction: LesionMask, *, with_skull: bool) -> StudyScore:
    """Return how the lesions that were found in a study compare with its reference.

    Raises:
        InvalidArgumentError: The masks lie on different grids, or the grid's spacing is not 1 mm.
    """
    voxel_mm3 = reference.geometry.voxel_volume_mm3
    return StudyScore(
        study=name,
        with_skull=with_skull,
        dice=dice(reference, prediction),
        slice_dice=slice_dice(reference, prediction),
        hd95_mm=hausdorff_95_mm(reference, prediction),
        lesionwise=score_lesions(reference, prediction),
        reference_mm3=float(np.count_nonzero(reference.voxels)) * voxel_mm3,
        predicted_mm3=float(np.count_nonzero(prediction.voxels)) * voxel_mm3,
    )
