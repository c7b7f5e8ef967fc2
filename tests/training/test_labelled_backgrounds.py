"""Tests of labelled studies as training backgrounds: their lesions go through every step, and faults are told first."""

from pathlib import Path

import numpy as np
import pytest

from brainmets.formats.nifti import read_label_map, write_nifti
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.geometry import Geometry
from brainmets.training.heads import T1C
from brainmets.training.labelled_backgrounds import load_labelled_backgrounds
from brainmets.training.labelled_studies import load_labelled_study
from brainmets.training.studies import AXIAL_AFFINE, OWN_LESIONS, make_study
from phantom_heads import make_head

LABELS = (1, 3, 4)
# A ball of bright voxels: 1 necrosis in it, 4 enhancing around, 2 oedema outside of that.
CENTRE, RADII_MM = (24, 32, 28), (3.0, 6.0, 9.0)


def _write_study(folder: Path, *, label_shift: int = 0, t1c: bool = True, nan: bool = False) -> Path:
    head = make_head()
    geometry = Geometry(head.shape, AXIAL_AFFINE)
    grid = np.ogrid[tuple(slice(0, size) for size in head.shape)]
    distance = np.sqrt(sum((axis - at) ** 2.0 for axis, at in zip(grid, CENTRE, strict=True)))
    labels = np.select([distance < radius for radius in RADII_MM], [1, 4, 2], 0).astype(np.uint8)
    voxels = (100.0 * head.voxels[T1C]).astype(np.float32)
    voxels[labels == 4] = 250.0
    if nan:
        voxels[CENTRE] = np.nan
    folder.mkdir(parents=True)
    name = "t1c" if t1c else "t2w"
    (folder / f"{folder.name}-{name}.nii.gz").write_bytes(write_nifti(voxels, geometry))
    (folder / f"{folder.name}-seg.nii.gz").write_bytes(write_nifti(labels + np.uint8(label_shift), geometry))
    return folder


def test_its_own_lesions_are_trained(tmp_path: Path) -> None:
    """A study made of it has a lesion of the core's volume, without the oedema, where the T1c is bright."""
    (background,) = load_labelled_backgrounds([_write_study(tmp_path / "a")], labels=LABELS, cache=tmp_path / "cache")
    assert background.target is not None
    assert np.count_nonzero(background.target) == pytest.approx(4 / 3 * np.pi * RADII_MM[1] ** 3, rel=0.05)
    made = [make_study(background, np.random.default_rng(seed)) for seed in range(16)]
    alone = [len(study.lesion_voxels[0]) for study in made if len(study.lesion_voxels) == 1]
    # Half of the studies get drawn lesions as well, which may swallow a small phantom. Each axis is stretched a little.
    assert sum(0.5 * 905 < volume < 1.8 * 905 for volume in alone) >= 6


def test_it_is_validated_on_its_own_lesions_alone(tmp_path: Path) -> None:
    """Nothing that is drawn decides when a training on labelled studies ends."""
    (background,) = load_labelled_backgrounds([_write_study(tmp_path / "a")], labels=LABELS, cache=tmp_path / "cache")
    made = [make_study(background, np.random.default_rng(seed), OWN_LESIONS) for seed in range(12)]
    assert [len(study.lesion_voxels) for study in made] == [1] * 12


def test_it_is_read_once(tmp_path: Path) -> None:
    """A second loading maps the cache, and a changed file is read again."""
    folder, cache = _write_study(tmp_path / "a"), tmp_path / "cache"
    (first,) = load_labelled_backgrounds([folder], labels=LABELS, cache=cache)
    (again,) = load_labelled_backgrounds([folder], labels=LABELS, cache=cache)
    assert np.array_equal(first.voxels, again.voxels)
    assert len(list(cache.iterdir())) == 1
    (folder / "a-t1n.nii.gz").write_bytes((folder / "a-t1c.nii.gz").read_bytes())
    (changed,) = load_labelled_backgrounds([folder], labels=LABELS, cache=cache)
    assert changed.acquired[:2] == (True, True)
    assert first.acquired[:2] == (True, False)


@pytest.mark.parametrize(
    ("fault", "message"),
    [({"label_shift": 3}, "labels that are not known"), ({"t1c": False}, "T1c"), ({"nan": True}, "finite")],
)
def test_a_fault_is_told_before_training(fault: dict[str, int], message: str, tmp_path: Path) -> None:
    """Unknown labels, a missing T1c and NaN are refused when the studies are loaded."""
    folder = _write_study(tmp_path / "a", **fault)  # type: ignore[arg-type] # one of its own options
    with pytest.raises(BrainmetsError, match=f"(?i){message}"):
        load_labelled_backgrounds([folder], labels=LABELS, cache=tmp_path / "cache")


def test_the_study_at_fault_is_named(tmp_path: Path) -> None:
    """Of hundreds, it is the one to look at."""
    with pytest.raises(BrainmetsError, match="Study MET-007: "):
        load_labelled_study(_write_study(tmp_path / "MET-007", t1c=False))


def test_a_misaligned_mask_is_told_before_training(tmp_path: Path) -> None:
    """A label map on another grid is refused."""
    folder = _write_study(tmp_path / "a")
    small = Geometry((4, 4, 4), AXIAL_AFFINE)
    (folder / "a-seg.nii.gz").write_bytes(write_nifti(np.ones((4, 4, 4), dtype=np.uint8), small))
    with pytest.raises(BrainmetsError, match="another grid"):
        load_labelled_backgrounds([folder], labels=LABELS, cache=tmp_path / "cache")


def test_a_study_without_lesions_is_a_study(tmp_path: Path) -> None:
    """A label map that is zero everywhere means that there is nothing to find."""
    folder = _write_study(tmp_path / "a")
    geometry = Geometry(make_head().shape, AXIAL_AFFINE)
    (folder / "a-seg.nii.gz").write_bytes(write_nifti(np.zeros(geometry.shape, dtype=np.uint8), geometry))
    (background,) = load_labelled_backgrounds([folder], labels=LABELS, cache=tmp_path / "cache")
    assert not background.own_target.any()


@pytest.mark.parametrize(("ending", "core"), [("-seg", (1,)), ("_seg", (1, 4))])
def test_label_4_is_a_cavity_since_2023(tmp_path: Path, ending: str, core: tuple[int, ...]) -> None:
    """And was the enhancing tumour before; which, the file's name says."""
    folder = _write_study(tmp_path / "a")
    written = folder / "a-seg.nii.gz"
    labels = read_label_map(written.read_bytes(), file_index=0).voxels
    written.rename(folder / f"a{ending}.nii.gz")
    assert np.array_equal(load_labelled_study(folder).reference.voxels, np.isin(labels, core))


def test_nothing_is_made_up_beside_a_lesion_that_was_acquired(tmp_path: Path) -> None:
    """What its T1 suggests of the other sequences would contradict it."""
    (background,) = load_labelled_backgrounds([_write_study(tmp_path / "a")], labels=LABELS, cache=tmp_path / "cache")
    drawn = {make_study(background, np.random.default_rng(seed)).present for seed in range(6)}
    assert drawn == {(True, False, False, False)}
