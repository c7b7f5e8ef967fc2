"""Tests of procedural metastases: their size, their place, and what of them is target."""

import numpy as np
import pytest

from brainmets.training.heads import T1C, T1N
from brainmets.training.lesions import (
    LesionKind,
    LesionPlan,
    choose_centre,
    draw_lesion_plan,
    draw_lesion_plans,
    implant_lesion,
)
from phantom_heads import SHAPE, make_head

CENTRE = (24, 32, 28)


def plan(kind: LesionKind, *, diameter_mm: float, oedema_mm: float = 0.0) -> LesionPlan:
    """Return a ball without irregularities, bright in its rim and dark in its core."""
    return LesionPlan(
        kind=kind,
        diameter_mm=diameter_mm,
        rim_mm=2.0,
        rim_gap_fraction=0.0,
        irregularity=0.0,
        lobes=1,
        septa=False,
        nodule=False,
        oedema_mm=oedema_mm,
        rim_levels=(3.0, 0.8, 1.5, 1.5),
        mass_effect=0.0,
        core_levels=(0.3, 0.3, 2.5, 0.5),
        oedema_gains=(0.7, 0.7, 1.8, 1.8),
    )


@pytest.mark.parametrize("diameter_mm", [4.0, 10.0, 24.0])
def test_a_lesion_is_as_large_as_planned(diameter_mm: float) -> None:
    """The target's equivalent diameter is the planned one within the spread of its axes."""
    diameters_mm = []
    for seed in range(20):
        head = make_head()
        implant_lesion(
            head, plan(LesionKind.SOLID, diameter_mm=diameter_mm), centre=CENTRE, rng=np.random.default_rng(seed)
        )
        diameters_mm.append((6.0 * head.target.sum() / np.pi) ** (1.0 / 3.0))
    assert np.mean(diameters_mm) == pytest.approx(diameter_mm, rel=0.1)


@pytest.mark.parametrize("kind", [LesionKind.RING, LesionKind.CYSTIC])
def test_an_enclosed_core_is_target(kind: LesionKind) -> None:
    """The dark middle of a ring is lesion as much as its bright rim."""
    head = make_head()
    implant_lesion(head, plan(kind, diameter_mm=20.0), centre=CENTRE, rng=np.random.default_rng(0))
    assert head.target[CENTRE]
    assert head.voxels[T1C][CENTRE] < 0.6
    assert head.voxels[T1C][head.target].max() > 2.0


def test_oedema_darkens_t1_and_is_no_target() -> None:
    """Around the lesion T1 falls where nothing is marked."""
    head = make_head()
    implant_lesion(
        head,
        plan(LesionKind.SOLID, diameter_mm=8.0, oedema_mm=8.0),
        centre=CENTRE,
        rng=np.random.default_rng(0),
    )
    dark = (head.voxels[T1N] < 0.8) & (head.brain > 0.5) & ~head.target
    assert dark.sum() > head.target.sum()


def test_a_lesion_stays_in_the_brain() -> None:
    """A lesion at the surface ends there: air stays air and is never target."""
    head = make_head()
    at_surface = (24, 32, 5)
    implant_lesion(head, plan(LesionKind.SOLID, diameter_mm=20.0), centre=at_surface, rng=np.random.default_rng(0))
    air = head.brain == 0.0
    assert head.target.any()
    assert not head.target[air].any()
    assert not head.voxels[:, air].any()


def test_the_same_seed_draws_the_same_lesions() -> None:
    """Plans and voxels can be replayed from their seed."""
    heads = []
    for _ in range(2):
        rng, head = np.random.default_rng(7), make_head()
        implant_lesion(head, draw_lesion_plan(rng, diameter_mm=18.0), centre=CENTRE, rng=rng)
        heads.append(head)
    assert np.array_equal(heads[0].voxels, heads[1].voxels)
    assert np.array_equal(heads[0].target, heads[1].target)


def test_studies_have_none_to_twenty_lesions_of_all_sizes() -> None:
    """Drawn studies cover the stated range: empty ones, small lesions and cystic ones above 40 mm."""
    studies = [draw_lesion_plans(np.random.default_rng(seed)) for seed in range(300)]
    plans = [each for study in studies for each in study]
    assert {0, 1} <= {len(study) for study in studies}
    assert max(len(study) for study in studies) <= 20
    assert min(each.diameter_mm for each in plans) < 3.5
    assert any(each.kind is LesionKind.CYSTIC and each.diameter_mm > 40.0 for each in plans)


def test_a_centre_lies_as_deep_as_asked() -> None:
    """Every centre is a voxel of the brain at the asked depth below its surface."""
    head = make_head()
    rng = np.random.default_rng(0)
    for _ in range(20):
        centre = choose_centre(head, inside_mm=6.0, rng=rng)
        assert centre is not None
        assert head.depth_mm[centre] >= 5.0


def test_a_brain_that_is_too_small_has_no_centre() -> None:
    """No voxel of the phantom is deeper than its shortest radius."""
    assert choose_centre(make_head(), inside_mm=max(SHAPE), rng=np.random.default_rng(0)) is None
