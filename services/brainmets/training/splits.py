"""Owns the split: which labelled studies train, validate and test, by patient, in a file that can be shared."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from brainmets.imaging.errors import BrainmetsError, InvalidArgumentError

# Its group is the patient. BraTS names a study by its patient and often a time point: BraTS-MET-00110-000.
BRATS_PATIENT = r"(.*?)(?:(?<=\d{3})[-_]\d{3})?"


class Part(StrEnum):
    """What studies are for."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


# Shares of the patients that each part gets.
SHARES = {Part.TRAINING: 0.8, Part.VALIDATION: 0.1, Part.TEST: 0.1}


@dataclass(frozen=True, slots=True)
class Split:
    """Studies by part; a patient's studies all lie in one.

    Attributes:
        studies: Names of the studies' folders.
        patient: A regular expression of such a name, whose first group is the patient.

    Raises:
        InvalidArgumentError: A part is empty, a study is named twice or tells no patient, or a patient is in two parts.
    """

    studies: Mapping[Part, tuple[str, ...]]
    patient: str = BRATS_PATIENT

    def __post_init__(self) -> None:
        """Refuse a split that leaks."""
        empty = [str(part) for part in Part if not self.studies.get(part)]
        if empty:
            raise _refuse("studies in every part", got=f"none in {', '.join(empty)}")
        named = [study for part in Part for study in self.studies[part]]
        if len(set(named)) < len(named):
            raise _refuse("each study once", got=f"{len(named) - len(set(named))} named again")
        parts = [{find_patient(study, self.patient) for study in self.studies[part]} for part in Part]
        leaking = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        if leaking:
            raise _refuse("each patient in one part", got=f"{len(leaking)} patients in two")


def find_patient(study: str, pattern: str = BRATS_PATIENT) -> str:
    """Return a study's patient.

    Args:
        study: The name of its folder.
        pattern: A regular expression of all of that name, whose first group is the patient.

    Raises:
        InvalidArgumentError: The pattern is none, has no group, or is not that of the name.
    """
    try:
        match = re.fullmatch(pattern, study)
        patient = match and match[1]
    except (re.error, IndexError):
        patient = None
    if not patient:
        raise _refuse(
            f"a pattern that every study's name matches, its patient in a group, as {BRATS_PATIENT}", got=pattern
        )
    return patient


def draw_split(studies: Iterable[str], *, seed: int, patient: str = BRATS_PATIENT) -> Split:
    """Return a split of patients drawn at random, `SHARES` of them in each part and at least one.

    Args:
        studies: Names of their folders.
        seed: Draws it.
        patient: As the split's.

    Raises:
        InvalidArgumentError: There are fewer patients than parts, or a study tells no patient.
    """
    patients: dict[str, list[str]] = {}
    for study in sorted(studies):
        patients.setdefault(find_patient(study, patient), []).append(study)
    if len(patients) < len(Part):
        raise InvalidArgumentError(
            "The studies cannot be split",
            expected=f"{len(Part)} patients or more, each of their studies a folder with *.nii.gz",
            got=f"{len(patients)}",
            remedy="name the folder that holds the studies' folders, or with --patient how their names tell patients",
        )
    order = np.random.default_rng(seed).permutation(sorted(patients)).tolist()
    few = {part: max(1, round(SHARES[part] * len(order))) for part in (Part.VALIDATION, Part.TEST)}
    drawn = {
        Part.VALIDATION: order[: few[Part.VALIDATION]],
        Part.TEST: order[few[Part.VALIDATION] : few[Part.VALIDATION] + few[Part.TEST]],
        Part.TRAINING: order[few[Part.VALIDATION] + few[Part.TEST] :],
    }
    return Split({part: tuple(study for each in drawn[part] for study in patients[each]) for part in Part}, patient)


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {"patient": split.patient, **{str(part): list(split.studies[part]) for part in Part}}
    path.write_text(json.dumps(stated, indent=1) + "\n")


def load_split(path: Path) -> Split:
    """Read a split; a file that states no pattern of patients has those of BraTS.

    Raises:
        InvalidArgumentError: The file is no split, or the split leaks.
    """
    try:
        content = json.loads(path.read_text())
        studies = {part: tuple(str(study) for study in content[part]) for part in Part}
        return Split(studies, str(content.get("patient", BRATS_PATIENT)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refuse("a JSON file with a list of studies for each part", got=type(error).__name__) from error


def find_studies(folder: Path, split: Split, part: Part) -> tuple[Path, ...]:
    """Return the folders of a part's studies.

    Raises:
        InvalidArgumentError: One of them is not there.
    """
    folders = tuple(folder / study for study in split.studies[part])
    missing = sum(not each.is_dir() for each in folders)
    if missing:
        raise _refuse(f"the folder of every study of part {part}", got=f"{missing} missing of {len(folders)}")
    return folders


def find_part(folder: Path | None, split_file: Path | None, part: Part) -> tuple[Path, ...]:
    """Return the folders of a part's studies, by what a command line names.

    Raises:
        InvalidArgumentError: The folder or the file is not named, or one of the studies is not there.
    """
    if folder is None or split_file is None:
        raise InvalidArgumentError(
            "The part of a split cannot be found",
            expected="the folder of its studies and its file",
            got="one of them",
            remedy="name both; `python -m brainmets.training split` draws one",
        )
    return find_studies(folder, load_split(split_file), part)


def _refuse(expected: str, *, got: str) -> BrainmetsError:
    return InvalidArgumentError(
        "The split cannot be used",
        expected=expected,
        got=got,
        remedy="correct the file, or draw another with `python -m brainmets.training split`",
    )
