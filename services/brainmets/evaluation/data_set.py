"""Owns the evaluation of a data set: every study decided and scored, the figures and pictures written."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brainmets.evaluation.calibration import ProbabilityCounts
from brainmets.evaluation.decided_study import DecidedStudy, StudyDecider
from brainmets.evaluation.pictures import save_reliability_diagram, save_study_picture
from brainmets.evaluation.report import save_data_set
from brainmets.evaluation.study_score import StudyScore, score_study
from brainmets.evaluation.summary import summarize
from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.lesions import LesionMask
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.scoring import MEAN


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is evaluated.

    Attributes:
        name: What it is called in the report.
        split: What it was to the weights: training, validation or test, and what else a reader must know.
        operating_point: Where the networks decide.
    """

    name: str
    split: str
    operating_point: str


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A study kept for its picture."""

    score: StudyScore
    labelled: LabelledStudy
    prediction: LesionMask


def evaluate_data_set(
    data_set: DataSet, studies: Iterable[LabelledStudy], decider: StudyDecider, *, out: Path, worst: int
) -> None:
    """Score every study, put the figures into `out` and draw the worst ones into a folder of its name beside it.

    Raises:
        InvalidArgumentError: There are no studies.
    """
    scores: dict[str, list[StudyScore]] = {}
    counts: dict[str, ProbabilityCounts] = {}
    kept: list[_Kept] = []
    for labelled in studies:
        decided = decider.decide(labelled)
        for name in decided.masks:
            _add(name, labelled, decided, scores=scores, counts=counts)
        shown = MEAN if MEAN in decided.masks else next(iter(decided.masks))
        kept.append(_Kept(scores[shown][-1], labelled, decided.masks[shown]))
        kept = sorted(kept, key=lambda each: each.score.lesionwise.dice)[:worst]
    if not scores:
        raise InvalidArgumentError(
            "There is nothing to evaluate", expected="one study or more", got="none", remedy="name their folders"
        )
    networks = {name: summarize(scores[name], counts[name]) for name in scores}
    save_data_set(
        out,
        data_set.name,
        {"split": data_set.split, "operating_point": data_set.operating_point, "networks": networks},
    )
    _draw(data_set, kept, counts, folder=out.with_suffix(""))


def _add(
    name: str,
    labelled: LabelledStudy,
    decided: DecidedStudy,
    *,
    scores: dict[str, list[StudyScore]],
    counts: dict[str, ProbabilityCounts],
) -> None:
    score = score_study(labelled.name, labelled.reference, decided.masks[name], with_skull=decided.with_skull)
    scores.setdefault(name, []).append(score)
    counted = ProbabilityCounts.count(decided.probability_maps[name], labelled.reference)
    counts[name] = counts[name] + counted if name in counts else counted


def _draw(data_set: DataSet, kept: list[_Kept], counts: dict[str, ProbabilityCounts], *, folder: Path) -> None:
    slug = "".join(letter if letter.isalnum() else "-" for letter in data_set.name.lower())
    for place, each in enumerate(kept, start=1):
        score = each.score
        title = (
            f"{score.study}: Dice {score.dice:.2f}, {score.lesions_found} of {len(score.lesionwise.lesions)} found, "
            f"{score.lesionwise.false_positives} false"
        )
        save_study_picture(folder / f"{slug}-worst-{place}.png", each.labelled, each.prediction, title=title)
    save_reliability_diagram(folder / f"{slug}-reliability.png", counts, title=f"{data_set.name}, {data_set.split}")
