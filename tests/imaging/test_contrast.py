"""Vessels say which T1 was acquired after contrast medium."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.contrast import find_exchanged_contrast
from brainmets.imaging.findings import FindingCode, Severity
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.runtime.brain_weights import load_brain_network
from imaging_cases import make_geometry

DATA = Path(__file__).parents[3] / "shared" / "data"
SHAPE = (30, 60, 60)
# Every hundredth voxel is a vessel.
VESSELS = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100 == 0
NONE = np.zeros(SHAPE, dtype=np.bool_)
STANDS_OUT = 5.0


def normalized(**vessels: NDArray[np.bool_]) -> NormalizedVolume:
    """Return noise in which vessels stand out, for each sequence by its name."""
    noise = np.random.default_rng(0).normal(scale=0.5, size=(len(vessels), *SHAPE)).astype(np.float32)
    voxels = noise + STANDS_OUT * np.stack(list(vessels.values()))
    everywhere, grid = np.ones(SHAPE, dtype=np.bool_), make_geometry(SHAPE)
    sequences = tuple(Sequence(name) for name in vessels)
    return NormalizedVolume(voxels.astype(np.float32), sequences, grid, grid, everywhere, everywhere, ())


def test_exchanged_t1s_are_found() -> None:
    """A warning: what a few studies show is no reason to refuse one."""
    (finding,) = find_exchanged_contrast(normalized(t1c=NONE, t1n=VESSELS))
    assert (finding.code, finding.severity) == (FindingCode.CONTRAST_NOT_ESTABLISHED, Severity.WARNING)
    assert finding.sequence is Sequence.T1C


@pytest.mark.parametrize(
    "vessels",
    [
        {"t1c": VESSELS, "t1n": NONE},
        # The same series twice, or noise alone: the image says nothing.
        {"t1c": VESSELS, "t1n": VESSELS},
        {"t1c": NONE, "t1n": NONE},
        # As much in one as in the other: haemorrhage and fat are bright in the T1n as well.
        {"t1c": np.roll(VESSELS, 3), "t1n": VESSELS},
        {"t1c": NONE},
        {"t1c": NONE, "t2f": VESSELS},
    ],
)
def test_else_nothing_is_said(vessels: dict[str, NDArray[np.bool_]]) -> None:
    """Whichever sequences there are."""
    assert find_exchanged_contrast(normalized(**vessels)) == ()


def test_a_t1n_that_shows_nothing_of_the_brain_says_nothing() -> None:
    """Zeros are what was not acquired."""
    study = normalized(t1c=VESSELS, t1n=NONE)
    study.voxels[1] = 0.0
    assert find_exchanged_contrast(study) == ()


@pytest.mark.parametrize(
    ("t1c", "t1n"),
    [
        ("metastasis_bratsmet_00110/BraTS-MET-00110-000-t1c.nii.gz", "BraTS-MET-00110-000-t1n.nii.gz"),
        ("glioma_brats_gli_00001/BraTS-GLI-00001-000-t1c.nii.gz", "BraTS-GLI-00001-000-t1n.nii.gz"),
        ("glioma_brats2021_00006/BraTS2021_00006_t1ce.nii.gz", "BraTS2021_00006_t1.nii.gz"),
    ],
)
def test_real_studies_are_told_apart(t1c: str, t1n: str) -> None:
    """As they are, and with their T1s exchanged."""
    if not DATA.is_dir():
        pytest.skip("needs the shared data next to the repository")
    paths = DATA / t1c, (DATA / t1c).with_name(t1n)
    volumes = [read_nifti(path.read_bytes(), file_index=0) for path in paths]
    for (after, before), expected in ((volumes, 0), (volumes[::-1], 1)):
        aligned = align_study(Study({Sequence.T1C: after, Sequence.T1N: before}), spacing_mm=1.0)
        outline = outline_head(aligned.volumes[Sequence.T1C], load_brain_network())
        assert len(find_exchanged_contrast(normalize_study(aligned, outline))) == expected
