"""Tests of the one command that trains on labelled studies: from their folder to a repository with scored cards."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from brainmets.runtime.network_version import find_graph
from brainmets.training import __main__ as command
from brainmets.training.model_card import CARD_NAME
from brainmets.training.networks import NETWORKS
from phantom_heads import save_labelled_phantom

ROOT = Path(__file__).parents[2]


def test_a_split_has_its_own_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another study would be ignored, so that it is refused before anything is read."""
    words = ["train", "--network", "nested_unet", "--split", tmp_path / "split.json", "--studies", tmp_path]
    words += ["--validation", tmp_path / "study", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["training", *map(str, words)])
    assert command.main() == 1
    assert "There are two validations" in capsys.readouterr().err


@pytest.mark.integration
def test_one_command_makes_scored_networks_of_labelled_studies(tmp_path: Path) -> None:
    """Each part of the split has its use, and what is found has points, an int8 graph and the test part's figures."""
    studies, own = tmp_path / "studies", tmp_path / "own"
    studies.mkdir()
    phantom = save_labelled_phantom(tmp_path)
    for patient in range(3):
        folder = studies / f"phantom-{patient:03d}-000"
        shutil.copytree(phantom, folder)
    line = ["make", "train-own", f"STUDIES={studies}", f"OWN={own}", "MINUTES=0.02", "LABELS=1"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    split = json.loads((own / "split.json").read_text())
    cached = {each.name.rsplit("-", 1)[0] for each in (own / "cache").iterdir()}
    assert cached == {*split["training"], *split["validation"]}
    for network in NETWORKS:
        folder = own / "model_repository" / network
        card = json.loads((folder / CARD_NAME).read_text())
        shipped = json.loads((ROOT / "model_repository" / network / CARD_NAME).read_text())
        assert card["started_from_onnx_sha256"] == shipped["onnx_sha256"]
        (metrics,) = card["metrics"]
        assert (metrics["data_set"], metrics["split"]) == ("labelled studies", "test")
        assert find_graph(folder).with_name("model.int8.onnx").is_file()
        decision = json.loads((own / "decisions" / f"{network}.json").read_text())
        assert decision["chosen_on"] == split["validation"]
    scored = json.loads((own / "evaluation.json").read_text())["data_sets"]["labelled studies"]["networks"]["mean"]
    assert [study["study"] for study in scored["per_study"]] == split["test"]
