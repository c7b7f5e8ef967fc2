"""Owns the overlap of a prediction with its reference, over a patient and over single slices."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.lesions import LesionMask


def dice(reference: LesionMask, prediction: LesionMask) -> float:
    """Return the patient's Dice coefficient, 2·|R ∩ P| / (|R| + |P|); two empty masks agree: 1.

    Raises:
        InvalidArgumentError: The masks lie on different grids.

    References:
        Dice 1945, Measures of the amount of ecologic association between species, Ecology 26:297.
    """
    check_same_grid(reference, prediction)
    return overlap(reference.voxels, prediction.voxels)


def slice_dice(reference: LesionMask, prediction: LesionMask) -> float:
    """Return the mean Dice coefficient of the slices (first axis) on which either mask has a voxel.

    A slice that is empty in both says nothing and is left out; when all are, the masks agree: 1. Large
    lesions span more slices and weigh more, so that this number compares with no patient's or lesion's Dice.

    Raises:
        InvalidArgumentError: The masks lie on different grids.
    """
    check_same_grid(reference, prediction)
    scores = [
        overlap(ours, theirs)
        for ours, theirs in zip(reference.voxels, prediction.voxels, strict=True)
        if ours.any() or theirs.any()
    ]
    return float(np.mean(scores)) if scores else 1.0


def overlap(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two arrays of one shape; 1 when both are empty."""
    total = np.count_nonzero(reference) + np.count_nonzero(prediction)
    return 2.0 * np.count_nonzero(reference & prediction) / total if total else 1.0


def check_same_grid(reference: LesionMask, prediction: LesionMask) -> None:
    """Refuse two masks that lie on different grids.

    Raises:
        InvalidArgumentError: They do.
    """
    if not reference.geometry.matches(prediction.geometry):
        raise InvalidArgumentError(
            "Reference and prediction lie on different grids",
            expected="one grid",
            got=f"{reference.geometry.shape} and {prediction.geometry.shape}, or other affines",
            remedy="resample the prediction onto the reference's grid first",
        )
