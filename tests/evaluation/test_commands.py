"""Tests of the evaluator's command line, on the shipped networks and a phantom study."""

import json
from pathlib import Path

import numpy as np
import pytest

from brainmets.evaluation import __main__ as command
from brainmets.formats.nifti import write_nifti
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.training.decisions import load_decision
from brainmets.training.heads import T1C
from brainmets.training.studies import AXIAL_AFFINE
from phantom_heads import make_head

MODELS = [str(Path(__file__).parents[2] / "model_repository" / name) for name in ("nested_unet", "attention_unet")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a labelled study: an uneven brain with a bright ball, and that ball as its reference."""
    folder = tmp_path_factory.mktemp("studies") / "phantom-001"
    folder.mkdir()
    head = make_head()
    grid = np.ogrid[tuple(slice(0, size) for size in head.shape)]
    ball = sum((axis - at) ** 2.0 for axis, at in zip(grid, (24, 32, 36), strict=True)) < 36.0
    uneven = np.random.default_rng(0).uniform(0.8, 1.2, size=head.shape)
    voxels = np.where(ball, 3.0, head.voxels[T1C] * uneven).astype(np.float32)
    geometry = Geometry(head.shape, AXIAL_AFFINE)
    (folder / "phantom-001-t1c.nii.gz").write_bytes(write_nifti(voxels, geometry))
    (folder / "phantom-001-seg.nii.gz").write_bytes(write_nifti(ball.astype(np.uint8), geometry))
    return folder


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


def test_points_are_chosen_and_can_be_exported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision for each network, with what it was chosen on."""
    given = ("--study", folder, "--synthetic", 2, "--out", tmp_path, "--threads", 1)
    assert run(monkeypatch, "choose-points", "--model", MODELS[1], *given) == 0
    decision = load_decision(tmp_path / "attention_unet.json")
    thresholds = [decision.points[name].threshold for name in OperatingPointName]
    assert thresholds == sorted(thresholds)
    assert json.loads((tmp_path / "attention_unet.json").read_text())["chosen_on"] == [
        "phantom-001/synthetic-0",
        "phantom-001/synthetic-1-skull",
    ]


def test_a_part_of_a_split_is_scored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Studies are named by the split's file; without it the folder says nothing."""
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["a"], "validation": [folder.name], "test": ["b"]}))
    given = ("--name", "phantom", "--split", "validation", "--worst", 0, "--threads", 1)
    whole = ("--studies", folder.parent, "--out", tmp_path / "evaluation.json")
    assert run(monkeypatch, "score", "--model", MODELS[1], *given, *whole) == 1
    assert "--split-file" in capsys.readouterr().err
    assert run(monkeypatch, "score", "--model", MODELS[1], *given, *whole, "--split-file", split) == 0
