"""Tests of brain masks on whole heads: no true lesion is lost, wherever in the brain it lies."""

from pathlib import Path

import numpy as np
import pytest

from brainmets.imaging.brain_mask import pack_brain
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.lesions import LesionMask, drop_outside_brain, find_lesions
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.brain_scoring import WholeHead, score_mask, simulate_skulls
from brainmets.training.labelled_studies import load_labelled_study

DATA = Path(__file__).parents[3] / "shared" / "data"
METASTASIS = DATA / "metastasis_bratsmet_00110"
# A large ring in one frontal lobe, which looks like an orbit.
GLIOMA = DATA / "glioma_brats2021_00006"
# Metastases at the brain's surface that are tried, and their diameters, mm.
SURFACE_LESIONS = 15
DIAMETERS_MM = (6.0, 10.0, 20.0)


@pytest.fixture(scope="module", params=[METASTASIS, GLIOMA], ids=lambda folder: folder.name)
def whole(request: pytest.FixtureRequest) -> WholeHead:
    """Return a real tumour, which was never trained on, in a simulated skull."""
    folder: Path = request.param
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in ../shared/data")
    if folder is METASTASIS:
        reference = folder / "reference" / "model_output_segmentation.nii.gz"
        labelled = load_labelled_study(folder, reference=reference, labels=(2,))
    else:
        labelled = load_labelled_study(folder)
    # The second one is a T1c alone.
    *_, second = simulate_skulls(labelled, count=2, seed=20_000)
    return second


def test_the_brain_is_found_in_its_skull(whole: WholeHead) -> None:
    """Hardly a hundredth of it is missed, and both surfaces lie near each other."""
    score = score_mask(whole, load_brain_network())
    assert score.missed_fraction < 0.02
    assert score.dice > 0.93
    assert score.surface_95_mm < 8.0


def test_the_tumour_stays(whole: WholeHead) -> None:
    """A large ring at the cortex is part of the brain."""
    t1c = whole.labelled.study.t1c
    brain = outline_head(t1c, load_brain_network()).brain
    lesion = whole.labelled.reference.voxels
    assert np.count_nonzero(lesion & brain) > 0.95 * np.count_nonzero(lesion)


@pytest.mark.parametrize("diameter_mm", DIAMETERS_MM)
def test_a_bright_lesion_on_the_surface_stays(whole: WholeHead, diameter_mm: float) -> None:
    """Half in the brain and half in the dura and bone, painted before the brain is looked for, none is dropped."""
    volume = whole.labelled.study.volumes[Sequence.T1C]
    truth = np.repeat(np.repeat(np.repeat(whole.brain, 2, 0), 2, 1), 2, 2)[tuple(map(slice, volume.voxels.shape))]
    edge = np.argwhere(truth & ~np.roll(truth, 1, axis=2))
    rng = np.random.default_rng(0)
    lesions = np.zeros(volume.voxels.shape, dtype=np.bool_)
    for centre in edge[rng.choice(len(edge), SURFACE_LESIONS, replace=False)]:
        reach = int(diameter_mm / 2) + 1
        place = tuple(slice(max(0, at - reach), at + reach + 1) for at in centre)
        grid = np.meshgrid(
            *(np.arange(size)[axis] for size, axis in zip(lesions.shape, place, strict=True)), indexing="ij"
        )
        distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)))
        lesions[place] |= distance <= diameter_mm / 2
    painted = np.where(lesions, 2.5 * np.median(volume.voxels[truth]), volume.voxels).astype(np.float32)
    brain = outline_head(type(volume)(painted, volume.geometry), load_brain_network()).brain
    candidates = find_lesions(LesionMask(lesions, volume.geometry), min_volume_mm3=0.0)
    kept = drop_outside_brain(candidates, pack_brain(brain), volume.geometry)
    assert kept.count == candidates.count
