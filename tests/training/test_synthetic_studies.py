"""Tests of studies that are drawn into a head kept out of training."""

import numpy as np
import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study
from brainmets.imaging.volume import Volume
from brainmets.training import labelled_studies
from brainmets.training.deformation import deform_background
from brainmets.training.heads import HALF, T1C, Head
from brainmets.training.labelled_studies import LabelledStudy, healthy_half, make_synthetic_studies
from brainmets.training.studies import AXIAL_AFFINE
from phantom_heads import make_head

SEED = 4


@pytest.fixture
def held_out() -> LabelledStudy:
    """An uneven head with one voxel of tumour on its left."""
    head = make_head()
    uneven = np.random.default_rng(0).uniform(0.8, 1.2, size=head.shape)
    geometry = Geometry(head.shape, AXIAL_AFFINE)
    volume = Volume((head.voxels[T1C] * uneven).astype(np.float32), geometry)
    tumour = np.zeros(head.shape, dtype=np.bool_)
    tumour[24, 32, 40] = True
    return LabelledStudy("phantom", Study({Sequence.T1C: volume}), LesionMask(tumour, geometry))


@pytest.mark.parametrize("columns", [slice(30, 52), slice(12, 34)], ids=["from the left", "from the right"])
def test_the_healthy_half_holds_nothing_of_a_tumour_beyond_the_middle(held_out: LabelledStudy, columns: slice) -> None:
    """It would be found, rightly, and counted as false."""
    tumour = np.zeros_like(held_out.reference.voxels)
    tumour[20:28, 28:36, columns] = True
    bright = held_out.study.t1c.voxels + np.float32(50.0) * tumour
    geometry = held_out.study.t1c.geometry
    study = Study({Sequence.T1C: Volume(bright.astype(np.float32), geometry)})
    half = healthy_half(LabelledStudy("phantom", study, LesionMask(tumour, geometry)))
    assert half.voxels[T1C].max() < 5.0


def test_tumour_on_both_sides_leaves_no_healthy_half(held_out: LabelledStudy) -> None:
    """The sentence says what to hold out instead."""
    tumour = np.zeros_like(held_out.reference.voxels)
    tumour[20:28, 28:36, 8:56] = True
    with pytest.raises(InvalidArgumentError, match="both halves"):
        healthy_half(LabelledStudy("phantom", held_out.study, LesionMask(tumour, held_out.reference.geometry)))


def _bent_as_the_first(held_out: LabelledStudy) -> Head:
    """Return the head that the first study is drawn into: it has all sequences and no skull."""
    rng = np.random.default_rng((SEED, 0))
    return deform_background(healthy_half(held_out), rng, margin_mm=0, present=(True,) * len(Sequence))


@pytest.mark.parametrize(("as_acquired", "least", "most"), [(True, 1.0, 1.0), (False, 0.0, 0.05)])
def test_as_acquired_tissue_keeps_its_intensity(
    held_out: LabelledStudy, monkeypatch: pytest.MonkeyPatch, *, as_acquired: bool, least: float, most: float
) -> None:
    """Without lesions voxels are the bent head's own; else a scanner has changed nearly all of them."""
    monkeypatch.setattr(labelled_studies, "draw_lesion_plans", lambda _: ())
    (labelled,) = make_synthetic_studies(held_out, count=1, seed=SEED, as_acquired=as_acquired)
    head = _bent_as_the_first(held_out)
    kept = (labelled.study.t1c.voxels == head.voxels[T1C])[head.brain > HALF].mean()
    assert least <= kept <= most
