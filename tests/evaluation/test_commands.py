"""Tests of the evaluator's command line, on the shipped networks and a phantom study."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brainmets.evaluation import __main__ as command
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.runtime.network_version import find_graph
from brainmets.training.decisions import load_decision
from brainmets.training.served_contract import TILES
from brainmets.training.slice_split import SLICE_SPLIT_NAME
from phantom_heads import save_labelled_phantom

if TYPE_CHECKING:
    from brainmets.training.labelled_studies import LabelledStudy

MODELS = [str(Path(__file__).parents[2] / "model_repository" / name) for name in ("nested_unet", "attention_unet")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a labelled study: an uneven brain with a bright ball, and that ball as its reference."""
    return save_labelled_phantom(tmp_path_factory.mktemp("studies"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command and return its exit status."""
    monkeypatch.setattr("sys.argv", ["evaluation", *map(str, arguments)])
    return command.main()


def test_a_study_is_scored_for_each_network_and_their_mean(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures reach the report and the terminal."""
    out = tmp_path / "evaluation.json"
    given = ("--study", folder, "--name", "phantom", "--split", "none", "--out", out, "--worst", 0, "--threads", 1)
    assert run(monkeypatch, "score", "--model", *MODELS, *given) == 0
    entry = json.loads(out.read_text())["data_sets"]["phantom"]
    assert set(entry["networks"]) == {"nested_unet", "attention_unet", "mean"}
    assert "phantom · none · balanced" in capsys.readouterr().out


def test_the_rounded_graph_is_scored_when_asked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nearly what the exact one says, and not the same."""
    out = tmp_path / "evaluation.json"
    given = ("--model", MODELS[1], "--study", folder, "--split", "none", "--out", out, "--worst", 0, "--threads", 1)
    for name, more in (("exact", ()), ("rounded", ("--int8",))):
        assert run(monkeypatch, "score", *given, "--name", name, *more) == 0
    sets = json.loads(out.read_text())["data_sets"]
    exact, rounded = (sets[name]["networks"]["attention_unet"] for name in ("exact", "rounded"))
    assert rounded["calibration"] != exact["calibration"]
    assert rounded["patient_dice"]["value"] == pytest.approx(exact["patient_dice"]["value"], abs=0.05)


def test_points_are_chosen_and_can_be_exported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision for each network, with what it was chosen on: lesions in degraded heads and in heads as acquired."""
    given = ("--study", folder, "--synthetic", 1, "--both-ways", "--out", tmp_path, "--threads", 1)
    assert run(monkeypatch, "choose-points", "--model", MODELS[1], *given) == 0
    decision = load_decision(tmp_path / "attention_unet.json")
    thresholds = [decision.points[name].threshold for name in OperatingPointName]
    assert thresholds == sorted(thresholds)
    assert json.loads((tmp_path / "attention_unet.json").read_text())["chosen_on"] == [
        "phantom-001/synthetic-0",
        "phantom-001/synthetic-as-acquired-0",
    ]


def test_drawn_studies_are_as_acquired_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's own intensities are left alone only then; nothing is scored here."""
    drawn: list[LabelledStudy] = []
    monkeypatch.setattr(command, "evaluate_data_set", lambda _, studies, *__, **___: drawn.extend(studies))
    monkeypatch.setattr(command, "load_report", lambda _: None)
    monkeypatch.setattr(command, "print_report", lambda *_: None)
    given = ("--model", MODELS[0], "--name", "n", "--split", "s", "--study", folder, "--synthetic", 1)
    for more in ((), ("--as-acquired",)):
        assert run(monkeypatch, "score", *given, *more) == 0
    degraded, acquired = (each.study.t1c.voxels for each in drawn)
    assert not np.array_equal(degraded, acquired)


def test_a_part_of_a_split_is_scored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Studies are named by the split's file; without it the folder says nothing."""
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["a"], "validation": [folder.name], "test": ["b"]}))
    given = ("--name", "phantom", "--split", "validation", "--worst", 0, "--threads", 1)
    whole = ("--studies", folder.parent, "--out", tmp_path / "evaluation.json")
    assert run(monkeypatch, "score", "--model", MODELS[1], *given, *whole) == 1
    assert "expected the folder of its studies and its file, got one of them" in capsys.readouterr().err
    assert run(monkeypatch, "score", "--model", MODELS[1], *given, *whole, "--split-file", split) == 0


@pytest.mark.integration
def test_candidates_are_compared_on_the_same_studies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate of two networks has a line for each and for their mean; one that is asked again keeps its place."""
    candidate = tmp_path / "both"
    for model in map(Path, MODELS):
        (candidate / model.name / "2880154539").mkdir(parents=True)
        shutil.copy(find_graph(model), candidate / model.name / "2880154539")
    (candidate / SLICE_SPLIT_NAME).write_text('{"slices": 3, "slice_dice": 0.5}')
    out = tmp_path / "compared.json"
    reference = folder / "phantom-001-seg.nii.gz"
    given = ("--candidates", candidate, "--study", folder, "--test", folder, "--reference", reference, "--out", out)
    for _ in range(2):
        assert run(monkeypatch, "compare", *given, "--synthetic", 1, "--threads", 1) == 0
    (compared,) = json.loads(out.read_text())
    assert set(compared["networks"]) == {"attention_unet", "nested_unet", "mean"}
    assert compared["random_slices"]["slice_dice"] == 0.5
    # The ball of 6 mm radius is bright: the test study is the same for all, and no network is told of the drawn ones.
    assert all(0.0 <= each["test_dice"] <= 1.0 for each in compared["networks"].values())
    assert "Research use only" in capsys.readouterr().out


def test_tiles_are_timed_and_the_served_ones_agree_with_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each size."""
    sizes = ("--depth", TILES.depth, 8, "--size", TILES.max_size, "--threads", 1)
    assert run(monkeypatch, "tiles", "--model", MODELS[1], "--study", folder, *sizes) == 0
    printed = capsys.readouterr().out
    assert "1.0000" in printed
    assert f"<= {TILES.max_size}" in printed
