"""Tests of the ablations: each trains what it says on studies of its own kind, and ends exported."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from brainmets.runtime.network_version import find_graph
from brainmets.training import ablations, shelf
from brainmets.training.ablations import ABLATIONS, Ablation, train_ablation
from brainmets.training.backgrounds import Background
from brainmets.training.checkpoint import TrainingPlan
from brainmets.training.heads import CHANNELS
from brainmets.training.patches import StudySource
from brainmets.training.slice_split import SLICE_SPLIT_NAME, choose_kept_slices
from brainmets.training.studies import StudyRules, TrainingStudy
from phantom_heads import make_head

PLAN = TrainingPlan("attention_unet", 1, math.inf, batch_size=1, widths=(2, 2, 2, 2, 2))


def make_background(name: str, *, stripped: bool) -> Background:
    """Return the phantom's head."""
    head = make_head()
    return Background(name, head.voxels, head.brain, (True,) * CHANNELS, enhanced=True, stripped=stripped)


def test_names_and_plans_differ() -> None:
    """No ablation overwrites another, and none is the base under another name."""
    assert len({each.name for each in ABLATIONS}) == len(ABLATIONS)
    differences = {(each.plans, each.shelf, each.slice_split) for each in ABLATIONS}
    assert len(differences) == len(ABLATIONS)


def test_other_studies_lie_on_another_shelf() -> None:
    """Whatever changes the studies changes their folder."""
    kinds = [
        Ablation("a", (PLAN,)),
        Ablation("b", (PLAN,), rules=StudyRules(mimics=False)),
        Ablation("c", (PLAN,), rules=StudyRules(skulls=False)),
        Ablation("d", (PLAN,), whole_heads=False),
        Ablation("e", (PLAN,), tumour=True),
    ]
    assert len({each.shelf for each in kinds}) == len(kinds)


def test_an_ablation_draws_its_own_kind_of_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rules reach every study, heads with a skull are left out where it says so, and the tumour comes in."""
    monkeypatch.setattr(ablations, "STUDIES", 12)
    drawn: list[tuple[str, StudyRules]] = []

    class Drawn(Exception):  # noqa: N818 -- the training itself is of no interest here
        pass

    def draw(background: Background, rng: np.random.Generator, rules: StudyRules) -> TrainingStudy:
        drawn.append((background.name, rules))
        return make_kept_study(rng)

    def stop(*_: object, **__: object) -> None:
        raise Drawn

    monkeypatch.setattr(shelf, "make_study", draw)
    monkeypatch.setattr(ablations, "Trainer", stop)
    rules = StudyRules(mimics=False)
    heads = (make_background("stripped", stripped=True), make_background("whole", stripped=False))
    tumour = make_background("tumour", stripped=True)
    ablation = Ablation("other", (PLAN,), rules=rules, whole_heads=False, tumour=True)
    with pytest.raises(Drawn):
        train_ablation(ablation, heads, tumour, out=tmp_path, real_tiles=())
    assert {name for name, _ in drawn} == {"stripped", "tumour"}
    assert {each for _, each in drawn} == {rules}


def make_kept_study(_: object = None) -> TrainingStudy:
    """Return a small study whose lesion goes through all of its slices."""
    target = np.ones((20, 4, 4), dtype=np.bool_)
    voxels = np.zeros((CHANNELS, *target.shape), dtype=np.float16)
    weight = np.ones(target.shape, dtype=np.float16)
    return TrainingStudy(voxels, target, weight, (np.argwhere(target).astype(np.int16),), (True,) * CHANNELS)


def test_a_slice_split_trains_on_what_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept slices of every study that the training is given weigh nothing; without a split all count."""
    monkeypatch.setattr(ablations, "STUDIES", 1)
    monkeypatch.setattr(shelf, "make_study", lambda *_: make_kept_study())
    taken: list[TrainingStudy] = []

    class Watching:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def train(self, draw_study: StudySource) -> None:
            taken.append(draw_study(np.random.default_rng(0)))
            raise StopIteration

    monkeypatch.setattr(ablations, "Trainer", Watching)
    for split in (True, False):
        ablation = Ablation(f"split-{split}", (PLAN,), slice_split=split)
        with pytest.raises(StopIteration):
            train_ablation(ablation, (make_background("a", stripped=True),), None, out=tmp_path, real_tiles=())
    kept = choose_kept_slices(make_kept_study())
    assert not taken[0].weight[kept].any()
    assert taken[1].weight.all()


@pytest.mark.integration
def test_an_ablation_ends_exported_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws its studies, trains, exports and scores the slices it kept; a second run draws and trains nothing."""
    monkeypatch.setattr(ablations, "STUDIES", 2)
    heads = (make_background("stripped", stripped=True), make_background("whole", stripped=False))
    ablation = Ablation("kept", (PLAN,), whole_heads=False, slice_split=True)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            train_ablation(ablation, heads, heads[0], out=tmp_path, real_tiles=())
    assert find_graph(tmp_path / "kept" / "attention_unet").is_file()
    studies = sorted((tmp_path / "studies" / "no-whole-heads").glob("*.npz"))
    assert [path.stem for path in studies] == ["study-00000001", "study-00000002"]
    stated = json.loads((tmp_path / "kept" / SLICE_SPLIT_NAME).read_text())
    assert 0.0 <= stated["slice_dice"] <= 1.0
    assert np.isfinite(stated["slices"])
