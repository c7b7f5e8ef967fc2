"""The demonstration study hides lesions of the sizes it says, and the comparison counts them right."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from local.comparison import compare, false_positive_words
from local.demonstration import DIAMETERS_MM, Demonstration, load_demonstration
from local.errors import StackError


@pytest.fixture(scope="module")
def truth(demonstration: Demonstration) -> NDArray[np.uint8]:
    """Its mask of truths."""
    return np.asarray(Nifti1Image.from_filename(demonstration.mask).dataobj, dtype=np.uint8)


def save_mask(voxels: NDArray[np.uint8], like: Demonstration, path: Path) -> Path:
    """Write a mask on the demonstration's grid."""
    Nifti1Image(voxels, Nifti1Image.from_filename(like.mask).affine).to_filename(path)
    return path


@pytest.mark.parametrize("label", range(1, len(DIAMETERS_MM) + 1))
def test_a_lesion_has_the_volume_of_its_sphere(truth: NDArray[np.uint8], label: int) -> None:
    """π/6 · d³, in voxels of 1 mm³."""
    expected_mm3 = np.pi / 6 * DIAMETERS_MM[label - 1] ** 3
    assert (truth == label).sum() == pytest.approx(expected_mm3, rel=0.01)


def test_lesions_are_brighter_than_the_brain(demonstration: Demonstration, truth: NDArray[np.uint8]) -> None:
    """As after contrast: the rim of the rings, and all of the solid ones."""
    scan = Nifti1Image.from_filename(demonstration.study).get_fdata()
    brain_level = np.median(scan[(truth == 0) & (scan > 0)])
    for lesion in demonstration.lesions:
        brightest = np.percentile(scan[truth == lesion.label], 75)
        assert brightest > 1.3 * brain_level


def test_the_study_is_the_same_each_time(demonstration: Demonstration, tmp_path: Path) -> None:
    """So that its result can be compared between versions."""
    assert load_demonstration(tmp_path).lesions == demonstration.lesions


def test_the_truth_itself_finds_every_lesion(
    demonstration: Demonstration, truth: NDArray[np.uint8], tmp_path: Path
) -> None:
    """With agreement 1 and nothing beside."""
    comparison = compare(demonstration, save_mask(truth, demonstration, tmp_path / "mask.nii.gz"))
    assert all(outcome.was_found and outcome.dice == 1.0 for outcome in comparison.outcomes)
    assert comparison.false_positives_mm3 == ()


def test_a_missed_lesion_and_a_false_one_are_told(
    demonstration: Demonstration, truth: NDArray[np.uint8], tmp_path: Path
) -> None:
    """One is taken away, and 27 mm³ are marked where nothing is."""
    mask = np.where(truth == 1, 0, truth).astype(np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    comparison = compare(demonstration, save_mask(mask, demonstration, tmp_path / "mask.nii.gz"))
    assert [outcome.was_found for outcome in comparison.outcomes] == [False] + 6 * [True]
    assert comparison.false_positives_mm3 == (27.0,)
    assert "1 (0.03 mL)" in false_positive_words(comparison)


def test_a_mask_on_another_grid_is_refused(demonstration: Demonstration, tmp_path: Path) -> None:
    """It cannot be compared voxel by voxel."""
    path = tmp_path / "mask.nii.gz"
    Nifti1Image(np.zeros((4, 4, 4), dtype=np.uint8), np.eye(4)).to_filename(path)
    with pytest.raises(StackError, match="grid"):
        compare(demonstration, path)
