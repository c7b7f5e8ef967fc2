"""Tests of the evaluation of a data set: figures by hand, a report and pictures that are there."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from brainmets.evaluation.data_set import DataSet, evaluate_data_set
from brainmets.evaluation.decided_study import DecidedStudy, mean_point, with_mean
from brainmets.evaluation.report import load_report, print_report
from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study
from brainmets.imaging.volume import Volume
from brainmets.training.labelled_studies import LabelledStudy
from evaluation_cases import GRID, make_mask

SET = DataSet("two cubes", "validation", "balanced")


class FixedDecider:
    """Predicts the same mask in every study, with probability 0.9."""

    def __init__(self, mask: LesionMask) -> None:
        self._mask = mask

    def decide(self, labelled: LabelledStudy) -> DecidedStudy:
        """Return the mask; heads whose name says so have a skull."""
        probability = ProbabilityMap(np.where(self._mask.voxels, 0.9, 0.0).astype(np.float32), GRID)
        return DecidedStudy({"net": probability}, {"net": self._mask}, "skull" in labelled.name)


def _studies() -> Iterator[LabelledStudy]:
    t1c = Volume(np.full(GRID.shape, 100.0, dtype=np.float32), GRID)
    for name, reference in (("plain", make_mask((5, 5, 5))), ("skull", make_mask())):
        yield LabelledStudy(name, Study({Sequence.T1C: t1c}), reference)


def test_figures_are_those_of_its_studies(tmp_path: Path) -> None:
    """One perfect study and one false positive in a head with a skull."""
    out = tmp_path / "evaluation.json"
    evaluate_data_set(SET, _studies(), FixedDecider(make_mask((5, 5, 5))), out=out, worst=1)
    entry = json.loads(out.read_text())["data_sets"]["two cubes"]
    figures = entry["networks"]["net"]
    assert entry["split"] == "validation"
    assert figures["patient_dice"]["value"] == 0.5
    assert figures["sensitivity_by_diameter_mm"]["3-6"] == {
        "found": 1, "lesions": 1, "value": 1.0, "low": None, "high": None,
    }  # fmt: skip
    assert figures["false_positives_per_study"]["value"] == 0.5
    assert figures["false_positives_per_study_with_skull"]["value"] == 1.0
    assert figures["false_positives_per_study_without_skull"]["value"] == 0.0
    volumes_mm3 = [volume_mm3 for study in figures["per_study"] for volume_mm3 in study["false_positives_mm3"]]
    assert figures["largest_false_positive_mm3"] == max(volumes_mm3) > 0.0
    assert figures["calibration"]["expected_calibration_error"] == pytest.approx(0.4, abs=0.01)
    assert [line["study"] for line in figures["per_study"]] == ["plain", "skull"]


def test_another_data_set_is_added_and_the_same_one_replaced(tmp_path: Path) -> None:
    """The report keeps one entry for each data set."""
    out = tmp_path / "evaluation.json"
    for name in ("a", "b", "a"):
        evaluate_data_set(DataSet(name, "test", "balanced"), _studies(), FixedDecider(make_mask()), out=out, worst=0)
    assert sorted(load_report(out)["data_sets"]) == ["a", "b"]


def test_the_worst_study_is_drawn(tmp_path: Path) -> None:
    """The picture of the false positive and the reliability diagram can be opened."""
    out = tmp_path / "evaluation.json"
    evaluate_data_set(SET, _studies(), FixedDecider(make_mask((5, 5, 5))), out=out, worst=1)
    pictures = sorted((tmp_path / "evaluation").iterdir())
    assert [path.name for path in pictures] == ["two-cubes-reliability.png", "two-cubes-worst-1.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_the_table_fits_a_terminal_and_names_split_and_use(tmp_path: Path) -> None:
    """A reader sees data set, split, figures and that they are for research."""
    out = tmp_path / "evaluation.json"
    evaluate_data_set(SET, _studies(), FixedDecider(make_mask((5, 5, 5))), out=out, worst=0)
    shown = StringIO()
    print_report(load_report(out), Console(file=shown, width=80))
    text = shown.getvalue()
    assert "two cubes · validation · balanced" in text
    assert "0.500" in text
    assert "Research use only" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_studies_are_an_error(tmp_path: Path) -> None:
    """An empty data set has no figures."""
    with pytest.raises(InvalidArgumentError, match="nothing to evaluate"):
        evaluate_data_set(SET, iter(()), FixedDecider(make_mask()), out=tmp_path / "a.json", worst=0)


def test_networks_decide_together_as_in_the_gateway() -> None:
    """Mean threshold, larger volume; a network alone has no mean."""
    points = {"a": OperatingPoint(0.4, 10.0, 0.7), "b": OperatingPoint(0.6, 30.0, 0.8)}
    assert with_mean(points)["mean"] == mean_point(points.values()) == OperatingPoint(0.5, 30.0, 0.75)
    assert set(with_mean({"a": points["a"]})) == {"a"}
