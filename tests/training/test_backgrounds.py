"""Tests of the backgrounds: what may be trained on, and how missing sequences are made up."""

from pathlib import Path

import numpy as np
import pytest

from brainmets.imaging.errors import InvalidArgumentError, InvalidIntensityError
from brainmets.imaging.sequence import Sequence
from brainmets.training.backgrounds import (
    TRAINING_SOURCES,
    UNENHANCED_CEILING,
    Part,
    complete_sequences,
    load_backgrounds,
)
from brainmets.training.heads import T1C, T1N, T2F, T2W

BRAIN = np.ones((1, 1, 3), dtype=np.bool_)
# CSF, grey and white matter in a T1 whose median is the grey matter's.
T1 = np.array([[[0.35, 0.8, 1.1]]], dtype=np.float32) * 500.0


def test_no_evaluation_study_is_a_training_source() -> None:
    """The real metastasis, the held-out glioma and the thick-sliced head never reach training."""
    folders = {source.folder for source in TRAINING_SOURCES}
    assert not folders & {"metastasis_bratsmet_00110", "glioma_brats2021_00006", "head_thick_slices_brain2"}


def test_of_a_head_with_a_tumour_only_the_other_half_is_used() -> None:
    """The glioma lies on the left; its head is made of the right half alone."""
    (source,) = (source for source in TRAINING_SOURCES if source.folder == "glioma_brats_gli_00001")
    assert source.parts == (Part.RIGHT_HALF,)


def test_directories_without_any_head_are_refused(tmp_path: Path) -> None:
    """Training on nothing is an error before it starts."""
    with pytest.raises(InvalidArgumentError, match="nothing to train on"):
        load_backgrounds([tmp_path])


def test_the_brains_median_becomes_one() -> None:
    """Whatever a scanner's units, intensities are told in the brain's."""
    voxels = complete_sequences({Sequence.T1N: T1}, BRAIN)
    assert np.median(voxels[T1N]) == pytest.approx(1.0)


def test_made_up_sequences_have_the_textbook_contrast() -> None:
    """In T2w and nowhere else CSF is the brightest tissue; FLAIR suppresses it."""
    voxels = complete_sequences({Sequence.T1N: T1}, BRAIN)
    csf, grey, white = voxels[T2W].ravel()
    assert csf > grey > white
    assert voxels[T2F].argmin() == 0


def test_a_made_up_t1n_does_not_enhance() -> None:
    """What is bright only through contrast medium is not so without it."""
    t1c = np.where(T1 > 500.0, 5.0 * T1, T1)
    voxels = complete_sequences({Sequence.T1C: t1c}, BRAIN)
    assert voxels[T1C].max() > 2.0 * UNENHANCED_CEILING
    assert voxels[T1N].max() == pytest.approx(UNENHANCED_CEILING)


def test_images_that_were_normalised_before_are_refused() -> None:
    """Their brain has a mean of zero, by which nothing can be divided."""
    with pytest.raises(InvalidIntensityError, match="before they were normalised"):
        complete_sequences({Sequence.T1C: T1 - np.median(T1)}, BRAIN)
