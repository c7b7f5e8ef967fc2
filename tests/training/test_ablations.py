"""Tests of the ablations: each trains what it says on studies of its own kind, and ends exported."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from brainmets.training import ablations
from brainmets.training.ablations import ABLATIONS, Ablation, train_ablation
from brainmets.training.backgrounds import Background
from brainmets.training.checkpoint import TrainingPlan
from brainmets.training.heads import CHANNELS
from brainmets.training.slice_split import SLICE_SPLIT_NAME
from brainmets.training.studies import StudyRules
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


def test_an_ablation_ends_exported_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws its studies, trains, exports and scores the slices it kept; a second run draws and trains nothing."""
    monkeypatch.setattr(ablations, "STUDIES", 2)
    heads = (make_background("stripped", stripped=True), make_background("whole", stripped=False))
    ablation = Ablation("kept", (PLAN,), whole_heads=False, slice_split=True)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            train_ablation(ablation, heads, heads[0], out=tmp_path, real_tiles=())
    assert (tmp_path / "kept" / "attention_unet" / "1" / "model.onnx").is_file()
    studies = sorted((tmp_path / "studies" / "no-whole-heads").glob("*.npz"))
    assert [path.stem for path in studies] == ["study-00000001", "study-00000002"]
    stated = json.loads((tmp_path / "kept" / SLICE_SPLIT_NAME).read_text())
    assert 0.0 <= stated["slice_dice"] <= 1.0
    assert np.isfinite(stated["slices"])
