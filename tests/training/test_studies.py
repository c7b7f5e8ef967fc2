"""Tests of training studies and patches: the truth lies where the lesions are, through every step."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.volume import Volume
from brainmets.training import mimics, patches, studies
from brainmets.training.backgrounds import Background, mirror_half
from brainmets.training.context import OFFSETS, SERVED, VOLUME
from brainmets.training.deformation import deform_background
from brainmets.training.heads import CHANNELS, T1C
from brainmets.training.mimics import paint_mimics, paint_vessel_loop
from brainmets.training.patches import PATCH_SIZE, PatchStream, cut_patch
from brainmets.training.skull import SKULL_MARGIN_MM, paint_skull
from brainmets.training.studies import (
    AXIAL_AFFINE,
    MOST_WEIGHT,
    StudyRules,
    TrainingStudy,
    draw_background,
    make_study,
    normalize_head,
)
from phantom_heads import make_head


def make_background() -> Background:
    """Return the phantom's head with tissue of uneven intensity."""
    head = make_head()
    uneven = np.random.default_rng(0).uniform(0.8, 1.2, size=head.voxels.shape).astype(np.float32)
    return Background("phantom", head.voxels * uneven, head.brain, (True,) * CHANNELS, enhanced=True, stripped=True)


@pytest.fixture(scope="module")
def study() -> TrainingStudy:
    """Return a study that has lesions."""
    for seed in range(20):
        study = make_study(make_background(), np.random.default_rng(seed))
        if len(study.lesion_voxels) > 1:
            return study
    raise AssertionError("twenty studies without two lesions")


def test_the_target_lies_inside_the_head(study: TrainingStudy) -> None:
    """No voxel of air is lesion."""
    assert study.target.any()
    assert study.voxels[T1C][study.target].astype(bool).mean() > 0.99


def test_the_smaller_lesion_weighs_more(study: TrainingStudy) -> None:
    """A voxel's weight falls with its lesion's volume, between 1 and the bound."""
    sizes = [len(voxels) for voxels in study.lesion_voxels]
    weights = [float(study.weight[tuple(voxels[0])]) for voxels in study.lesion_voxels]
    assert weights[int(np.argmin(sizes))] >= weights[int(np.argmax(sizes))]
    assert 1.0 <= min(weights) <= max(weights) <= MOST_WEIGHT


def test_the_same_seed_makes_the_same_study() -> None:
    """A study can be replayed."""
    one, other = (make_study(make_background(), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.voxels, other.voxels)
    assert np.array_equal(one.target, other.target)


@pytest.mark.parametrize("skull", [False, True])
def test_normalised_intensities_are_the_served_ones(*, skull: bool) -> None:
    """Over the brain the T1c has mean 0 and a deviation of 1, with a skull around it and without."""
    head = make_head()
    head.voxels *= np.random.default_rng(0).uniform(0.5, 1.5, size=head.shape).astype(np.float32)
    if skull:
        # A bright scalp, six voxels beyond the brain.
        head.voxels[:, head.depth_mm < -6.0] = 5.0
        head.voxels[:, head.depth_mm < -9.0] = 0.0
    values = normalize_head(head).voxels[T1C].astype(np.float64)
    brain = values[(values != 0) & (values < 3.0)]
    assert brain.mean() == pytest.approx(0.0, abs=0.05)
    assert brain.std() == pytest.approx(1.0, abs=0.05)


def test_a_patch_shows_the_middle_slice_of_its_target(study: TrainingStudy) -> None:
    """A patch has the network's shape, and its target's voxels are voxels of head in its middle T1c slice."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        slices, target, weight = cut_patch(study, rng, context=SERVED)
        assert slices.shape == (SERVED.input_channels, PATCH_SIZE, PATCH_SIZE)
        assert target.shape == weight.shape == (1, PATCH_SIZE, PATCH_SIZE)
        assert slices[OFFSETS.index(0)][target[0]].astype(bool).all()
        assert (weight[~target] == 1.0).all()


def test_a_volumes_patch_shows_and_decides_all_of_its_slices(study: TrainingStudy) -> None:
    """A volumetric patch has sequences as channels, and what is lesion in it is head in the same voxel."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        slices, target, weight = cut_patch(study, rng, context=VOLUME)
        depth = len(VOLUME.offsets)
        assert slices.shape == (CHANNELS, depth, PATCH_SIZE, PATCH_SIZE)
        assert target.shape == weight.shape == (1, depth, PATCH_SIZE, PATCH_SIZE)
        assert slices[T1C][target[0]].astype(bool).all()


@pytest.mark.parametrize(("step", "share"), [(1.0, 1.0), (2.0, 0.25)])
def test_a_patch_is_cut_by_its_view(monkeypatch: pytest.MonkeyPatch, *, step: float, share: float) -> None:
    """Two voxels of the study a step show a lesion in a quarter of its area, and its slices in the same place."""
    monkeypatch.setattr(patches, "draw_matrix", lambda _: step * np.eye(2))
    target = np.zeros((9, PATCH_SIZE, PATCH_SIZE), dtype=np.bool_)
    target[:, 60:100, 60:100] = True
    voxels = np.ones((CHANNELS, *target.shape), dtype=np.float16)
    voxels[:, target] = 3.0
    weight = np.where(target, 2.0, 1.0).astype(np.float16)
    study = TrainingStudy(voxels, target, weight, (np.argwhere(target).astype(np.int16),), (True,) * CHANNELS)
    slices, shown, weights = cut_patch(study, np.random.default_rng(1), context=SERVED)
    assert shown.sum() == pytest.approx(share * 1600, rel=0.1)
    assert np.median(weights[shown]) == 2.0
    assert (weights[~shown] <= 1.0).all()
    middle = slices[OFFSETS.index(0)].astype(np.float64)
    around = ndimage.binary_dilation(shown[0], iterations=6) & ~ndimage.binary_dilation(shown[0], iterations=2)
    assert middle[ndimage.binary_erosion(shown[0], iterations=2)].mean() > middle[around].mean() + 1.0


def test_some_patches_are_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat head is rough in them, and only inside."""
    monkeypatch.setattr(patches, "draw_matrix", lambda _: np.eye(2))
    target = np.zeros((9, PATCH_SIZE, PATCH_SIZE), dtype=np.bool_)
    voxels = np.zeros((CHANNELS, *target.shape), dtype=np.float16)
    voxels[..., 40:120] = 1.0
    study = TrainingStudy(voxels, target, np.ones(target.shape, np.float16), (), (True,) * CHANNELS)
    for often, rough in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(patches, "NOISY", often)
        slices, *_ = cut_patch(study, np.random.default_rng(2), context=SERVED)
        t1c = slices[OFFSETS.index(0)].astype(np.float64)
        assert bool(t1c[t1c != 0.0].std() > 0.01) is rough
        assert (t1c == 0.0).sum() == PATCH_SIZE * 80


def test_patches_without_a_lesion_are_of_the_head() -> None:
    """Where the head fills an eighth of its box, most patches are still cut around a voxel of it."""
    target = np.zeros((32, 40, 40), dtype=np.bool_)
    voxels = np.zeros((CHANNELS, *target.shape), dtype=np.float16)
    voxels[:, :4] = 1.0
    study = TrainingStudy(voxels, target, np.ones(target.shape, np.float16), (), (True,) * CHANNELS)
    rng = np.random.default_rng(3)
    shown = [bool(cut_patch(study, rng, context=SERVED)[0][OFFSETS.index(0)].any()) for _ in range(40)]
    assert sum(shown) > 20


def test_large_lesions_are_shown_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 3200 voxels nearly four times as often as one of a single voxel, its sixth root; not 3200 times."""
    monkeypatch.setattr(patches, "LESION_FRACTION", 1.0)
    target = np.zeros((24, 40, 40), dtype=np.bool_)
    target[:8, 10:30, 10:30] = True
    lesions = (np.argwhere(target).astype(np.int16), np.array([[20, 20, 20]], dtype=np.int16))
    target[20, 20, 20] = True
    voxels = np.ones((CHANNELS, *target.shape), dtype=np.float16)
    study = TrainingStudy(voxels, target, np.ones(target.shape, np.float16), lesions, (True,) * CHANNELS)
    rng = np.random.default_rng(0)
    large = [cut_patch(study, rng, context=SERVED)[1].sum() > 50 for _ in range(150)]
    assert 0.68 < np.mean(large) < 0.92


def test_channel_dropout_can_be_turned_off(study: TrainingStudy) -> None:
    """Without it a patch has every sequence that its study has; with it, it never lacks the T1c."""
    for dropped, expected in ((0.0, study.present), (1.0, (True, False, False, False))):
        slices, *_ = cut_patch(study, np.random.default_rng(0), context=SERVED, dropped=dropped)
        sequences = slices.reshape(CHANNELS, -1)
        assert tuple(bool(each.any()) for each in sequences) == expected


def test_an_ablation_leaves_out_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither mimics nor skulls are drawn where the rules forbid them; both are, now and then, where they do not."""
    drawn: list[str] = []
    monkeypatch.setattr(studies, "paint_mimics", lambda *_, **__: drawn.append("mimics"))
    monkeypatch.setattr(studies, "paint_skull", lambda *_, **__: drawn.append("skull"))
    for seed in range(4):
        make_study(make_background(), np.random.default_rng(seed), StudyRules(mimics=False, skulls=False))
    assert not drawn
    for seed in range(4):
        make_study(make_background(), np.random.default_rng(seed))
    assert set(drawn) == {"mimics", "skull"}


def test_studies_are_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scanner's disturbances are part of every study."""
    disturbed: list[object] = []
    monkeypatch.setattr(studies, "disturb", lambda head, _: disturbed.append(head))
    make_study(make_background(), np.random.default_rng(0))
    assert len(disturbed) == 1


def test_the_same_seed_streams_the_same_batches() -> None:
    """Training can be replayed from its seed."""
    background = make_background()

    def source(rng: np.random.Generator) -> TrainingStudy:
        return make_study(background, rng)

    one, other = (next(iter(PatchStream(source, seed=5, batch_size=2, context=SERVED))) for _ in range(2))
    assert all(bool((ours == theirs).all()) for ours, theirs in zip(one, other, strict=True))


def test_vessels_go_round_tissue() -> None:
    """As a ring-enhancing lesion's rim does: their middle is as it was. None of it is target."""
    clear_mm = []
    for seed in range(20):
        head = make_head()
        before = head.voxels[T1C].copy()
        paint_vessel_loop(head, level=2.5, rng=np.random.default_rng(seed))
        bright = np.argwhere(head.voxels[T1C] > before + 0.5)
        assert not head.target.any()
        if len(bright):  # in a head this small there is not always room
            clear_mm.append(float(np.linalg.norm(bright - bright.mean(axis=0), axis=1).min()))
    assert len(clear_mm) > 5
    assert np.median(clear_mm) > 2.0


def test_vessels_round_tissue_are_among_what_must_not_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every head that was given contrast medium, and in no other."""
    drawn = []
    monkeypatch.setattr(mimics, "paint_vessel_loop", lambda *_, **__: drawn.append("loop"))
    paint_mimics(make_head(), enhanced=False, rng=np.random.default_rng(0))
    assert not drawn
    paint_mimics(make_head(), enhanced=True, rng=np.random.default_rng(0))
    assert len(drawn) >= 2


def test_mimics_are_bright_and_no_target() -> None:
    """Vessels and dura light up, and nothing is marked."""
    head = make_head()
    paint_mimics(head, enhanced=True, rng=np.random.default_rng(1))
    assert head.voxels[T1C].max() > 1.2
    assert not head.target.any()


def test_without_contrast_medium_nothing_enhances() -> None:
    """A T1 before contrast medium has no bright mimics."""
    for seed in range(5):
        head = make_head()
        paint_mimics(head, enhanced=False, rng=np.random.default_rng(seed))
        assert head.voxels[T1C].max() <= 1.0


def test_a_painted_skull_makes_the_head_larger_and_leaves_the_brain() -> None:
    """The served foreground of a head with a skull reaches beyond the brain; the brain's intensities stay."""
    plain = make_head()
    head = type(plain)(
        voxels=np.pad(plain.voxels, ((0, 0), *((SKULL_MARGIN_MM,) * 2,) * 3)),
        brain=np.pad(plain.brain, SKULL_MARGIN_MM),
        present=plain.present,
    )
    paint_skull(head, enhanced=True, rng=np.random.default_rng(0))
    inside = head.brain == 1.0
    foreground = find_foreground(Volume(np.ascontiguousarray(head.voxels[T1C]), Geometry(head.shape, AXIAL_AFFINE)))
    assert (head.voxels[T1C][inside] == 1.0).all()
    assert foreground.sum() > 1.3 * inside.sum()


def test_a_mirrored_half_is_its_own_mirror_image() -> None:
    """A head made of one half is symmetric, and so hides what the other half had."""
    background = make_background()
    for from_left in (False, True):
        half = mirror_half(background, from_left=from_left)
        assert np.array_equal(half.voxels, half.voxels[..., ::-1])


def test_an_absent_sequence_is_zero() -> None:
    """What a study does not have is zeros, as it is served."""
    head = make_head()
    head.present = (True, False, False, False)
    head.voxels[T1C] *= np.random.default_rng(0).uniform(0.5, 1.5, size=head.shape)
    study = normalize_head(head)
    assert study.voxels[T1C].any()
    assert not study.voxels[1:].any()


def test_a_patchs_channels_are_the_slices_of_its_context() -> None:
    """Channel by channel a patch shows the slices that the context names, and zeros beyond the head."""
    depth, size = 30, PATCH_SIZE
    levels = np.arange(1, depth + 1, dtype=np.float16)
    voxels = np.zeros((CHANNELS, depth, size, size), dtype=np.float16)
    voxels[T1C] = levels[:, None, None]
    target = np.zeros((depth, size, size), dtype=np.bool_)
    target[2] = True
    alone = (True, False, False, False)
    study = TrainingStudy(
        voxels, target, np.ones(target.shape, np.float16), (np.argwhere(target).astype(np.int16),), alone
    )
    shown = (
        next(
            slices
            for slices, cut, _ in (cut_patch(study, np.random.default_rng(seed), context=SERVED) for seed in range(30))
            if cut.all()
        )[: len(OFFSETS)]
        .astype(np.float64)
        .mean(axis=(1, 2))
    )
    there = np.array([0 <= 2 + offset < depth for offset in OFFSETS])
    assert (shown[~there] == 0.0).all()
    # Intensities are shifted and stretched alike in all slices: their steps keep their ratios.
    steps = np.diff(shown[there]) / np.diff([offset for offset, seen in zip(OFFSETS, there, strict=True) if seen])
    assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=0.02)
    assert steps[0] > 0.5


def test_hardly_any_brain_is_cut_by_the_box_of_a_deformed_head() -> None:
    """However it is turned, stretched and bent, it ends before its box does, as a real one does."""
    shape = (64, 80, 72)
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    distance = sum((2.0 * axis / (size - 1) - 1.0) ** 2 for axis, size in zip(grid, shape, strict=True))
    brain = (distance <= 1.0).astype(np.float32)
    alone = (True, *(False,) * (CHANNELS - 1))
    ball = Background("ball", np.stack([brain] * CHANNELS), brain, alone, enhanced=True, stripped=True)
    cut = []
    for seed in range(8):
        bent = deform_background(ball, np.random.default_rng(seed), margin_mm=0, present=alone).brain > 0.5
        faces = [bent.take(index, axis=axis) for axis in range(3) for index in (0, -1)]
        cut.append(sum(np.count_nonzero(face) for face in faces))
    # mm², of a surface of 170 cm².
    assert np.median(cut) < 50
    assert max(cut) < 800


def test_complete_heads_and_studies_are_drawn_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head whose sequences were all acquired counts twice; of its studies with more than a T1c most have all."""
    complete = make_background()
    alone = replace(complete, name="other", acquired=(True, *(False,) * (CHANNELS - 1)))
    rng = np.random.default_rng(0)
    # A second half makes a head no likelier.
    drawn = [draw_background((complete, alone, alone), rng).name for _ in range(600)]
    assert 350 < drawn.count("phantom") < 450
    present = []
    monkeypatch.setattr(studies, "deform_background", lambda *_, **given: present.append(given["present"]) or stop())
    for _ in range(300):
        with pytest.raises(StopIteration):
            make_study(complete, rng)
    counts = [sum(each) for each in present]
    assert 30 < counts.count(1) < 90
    assert counts.count(CHANNELS) > 150


def stop() -> None:
    """End what is under way."""
    raise StopIteration
