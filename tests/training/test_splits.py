"""Tests of splits: a patient lies in one part, and a file that leaks is refused."""

import json
from pathlib import Path

import pytest

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.splits import Part, Split, draw_split, find_patient, find_studies, load_split, save_split

# Thirty patients with two time points each.
STUDIES = [f"BraTS-MET-{patient:05d}-{time:03d}" for patient in range(30) for time in range(2)]


def _write(path: Path, **parts: list[str]) -> Path:
    path.write_text(json.dumps(parts))
    return path


@pytest.mark.parametrize(
    ("study", "patient"),
    [
        ("BraTS-MET-00110-000", "BraTS-MET-00110"),
        ("BraTS-MET-00110-001", "BraTS-MET-00110"),
        ("BraTS2021_00006", "BraTS2021_00006"),
        ("UCSF-100", "UCSF-100"),
    ],
)
def test_a_patient_is_the_name_without_its_time_point(study: str, patient: str) -> None:
    """Two time points are one patient, and a number that is no time point stays."""
    assert find_patient(study) == patient


def test_other_names_need_a_pattern(tmp_path: Path) -> None:
    """What follows a patient elsewhere is told by a pattern, which goes into the file and is asked again."""
    studies = [f"p{patient}_visit{visit}" for patient in range(5) for visit in range(2)]
    split = draw_split(studies, seed=1, patient=r"(p\d+)_visit\d")
    assert {len({study[:2] for study in split.studies[part]}) for part in (Part.VALIDATION, Part.TEST)} == {1}
    save_split(split, tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    content["test"].append(content["training"].pop())
    (tmp_path / "leaking.json").write_text(json.dumps(content))
    with pytest.raises(InvalidArgumentError, match="each patient in one part"):
        load_split(tmp_path / "leaking.json")


@pytest.mark.parametrize("pattern", ["(", "p.*", r"(q\d)", "()p1.*"])
def test_a_pattern_that_tells_no_patient_is_refused(pattern: str) -> None:
    """One that is none, has no group, or does not fit."""
    with pytest.raises(InvalidArgumentError, match="patient in a group"):
        find_patient("p1_visit1", pattern)


def test_a_drawn_split_keeps_patients_together_and_uses_all() -> None:
    """Every study is in one part, both time points of a patient in the same, a tenth of patients in each small one."""
    split = draw_split(STUDIES, seed=1)
    assert sorted(study for part in Part for study in split.studies[part]) == sorted(STUDIES)
    assert {part: len({find_patient(each) for each in split.studies[part]}) for part in Part} == {
        Part.TRAINING: 24, Part.VALIDATION: 3, Part.TEST: 3,
    }  # fmt: skip


def test_a_split_is_drawn_from_its_seed() -> None:
    """The same seed draws the same split, another one another."""
    assert draw_split(STUDIES, seed=1) == draw_split(reversed(STUDIES), seed=1)
    assert draw_split(STUDIES, seed=1) != draw_split(STUDIES, seed=2)


def test_a_split_can_be_kept(tmp_path: Path) -> None:
    """What was saved is loaded."""
    split = draw_split(STUDIES, seed=1)
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split


def test_a_leaking_split_is_refused(tmp_path: Path) -> None:
    """A patient whose time points train and test is refused, and not named."""
    path = _write(
        tmp_path / "split.json",
        training=["BraTS-MET-00001-000"],
        validation=["BraTS-MET-00002-000"],
        test=["BraTS-MET-00001-001"],
    )
    with pytest.raises(InvalidArgumentError, match="each patient in one part") as refusal:
        load_split(path)
    assert "00001" not in str(refusal.value)


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    """Nothing to validate on is said before training."""
    path = _write(tmp_path / "split.json", training=["a-001"], validation=[], test=["b-001"])
    with pytest.raises(InvalidArgumentError, match="none in validation"):
        load_split(path)


def test_a_study_named_twice_is_refused() -> None:
    """A study counts once."""
    with pytest.raises(InvalidArgumentError, match="each study once"):
        Split({Part.TRAINING: ("a", "a"), Part.VALIDATION: ("b",), Part.TEST: ("c",)})


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"training": ["a"]}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    """A file that is no split is told so."""
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(InvalidArgumentError, match="split"):
        load_split(tmp_path / "split.json")


def test_a_missing_study_is_told(tmp_path: Path) -> None:
    """A study of the split that is not in the folder is missed before training."""
    (tmp_path / "a").mkdir()
    split = Split({Part.TRAINING: ("a", "d"), Part.VALIDATION: ("b",), Part.TEST: ("c",)})
    with pytest.raises(InvalidArgumentError, match="1 missing of 2"):
        find_studies(tmp_path, split, Part.TRAINING)


def test_two_patients_cannot_be_split() -> None:
    """Each part needs a patient."""
    with pytest.raises(InvalidArgumentError, match="3 patients"):
        draw_split(["a", "b"], seed=1)
