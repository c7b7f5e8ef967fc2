"""Owns the choice of operating points, on validation studies only: most lesions for so many false positives."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from brainmets.imaging.mets_metric import LesionwiseScore, score_lesions
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.training.labelled_studies import StudyTruth
from brainmets.training.scoring import InferredStudy

# False positives a study that each point may well cost at most: what counting without a reader bears, one to look at,
# and what a reader who looks for every lesion puts up with. The strictest is chosen first.
MOST_FALSE_POSITIVES = {
    OperatingPointName.SPECIFIC: 0.25,
    OperatingPointName.BALANCED: 1.0,
    OperatingPointName.SENSITIVE: 3.0,
}
# Below it nothing is promised, and a point must not be chosen for luck.
SMALLEST_ASKED_MM = 3.0
THRESHOLDS = (0.4, 0.5)
PEAKS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
VOLUMES_MM3 = (20.0, 40.0)
TRIED_POINTS = tuple(
    OperatingPoint(threshold, volume_mm3, peak)
    for threshold, volume_mm3, peak in itertools.product(THRESHOLDS, VOLUMES_MM3, PEAKS)
)


@dataclass(frozen=True, slots=True)
class PointScore:
    """How a network did at an operating point, over all validation studies.

    Attributes:
        point: The operating point.
        sensitivity: Fraction of lesions of `SMALLEST_ASKED_MM` or more that were found.
        false_positives: A study, in that kind of studies that has most of them.
        likely_false_positives: What other studies may well bear: as many, or those of all kinds and a standard error,
            whichever is more.
        lesionwise_dice: Mean over studies.
    """

    point: OperatingPoint
    sensitivity: float
    false_positives: float
    likely_false_positives: float
    lesionwise_dice: float


def try_points(studies: Iterable[tuple[StudyTruth, InferredStudy]], name: str) -> list[PointScore]:
    """Return how the networks of a name, one or their mean, do at every point that is tried."""
    scores: dict[OperatingPoint, dict[str, list[LesionwiseScore]]] = {
        point: defaultdict(list) for point in TRIED_POINTS
    }
    for truth, inferred in studies:
        for point in TRIED_POINTS:
            scores[point][truth.kind].append(score_lesions(truth.reference, inferred.decide(name, point).mask))
    return [summarize_point(point, kinds.values()) for point, kinds in scores.items()]


def summarize_point(point: OperatingPoint, kinds: Collection[list[LesionwiseScore]]) -> PointScore:
    """Return how studies did at a point, by their kinds, none of which is to bear more than the point may cost."""
    most = max(statistics.fmean(each.false_positives for each in kind) for kind in kinds)
    lesionwise = list(itertools.chain.from_iterable(kinds))
    counts = [each.false_positives for each in lesionwise]
    asked = [lesion for each in lesionwise for lesion in each.lesions if lesion.diameter_mm >= SMALLEST_ASKED_MM]
    return PointScore(
        point=point,
        sensitivity=sum(lesion.found for lesion in asked) / max(len(asked), 1),
        false_positives=most,
        likely_false_positives=max(most, statistics.fmean(counts) + _standard_error(counts)),
        lesionwise_dice=sum(each.dice for each in lesionwise) / len(lesionwise),
    )


def _standard_error(counts: list[int]) -> float:
    """Return that of studies' mean count, at least as large as if each false positive came by itself (Poisson)."""
    by_itself = math.sqrt(max(sum(counts), 1)) / len(counts)
    return max(by_itself, statistics.stdev(counts) / math.sqrt(len(counts))) if len(counts) > 1 else by_itself


def choose_points(tried: Iterable[PointScore]) -> Mapping[OperatingPointName, PointScore]:
    """Return for each name the point that finds most within its false positives, by overlap where several do.

    Within is one whose likely false positives are: the best of many points owes some of that to chance. Where none
    keeps to them, the one with the fewest is taken. A more sensitive point never asks for more.
    """
    left = tuple(tried)
    chosen: dict[OperatingPointName, PointScore] = {}
    for name, most in MOST_FALSE_POSITIVES.items():
        within = [score for score in left if score.likely_false_positives <= most]
        fewest = min(left, key=lambda score: (score.likely_false_positives, -score.sensitivity))
        best = max(within, key=lambda score: (score.sensitivity, score.lesionwise_dice), default=fewest)
        chosen[name] = best
        left = tuple(
            score
            for score in left
            if score.point.threshold <= best.point.threshold
            and score.point.min_peak_probability <= best.point.min_peak_probability
            and score.point.min_lesion_volume_mm3 <= best.point.min_lesion_volume_mm3
        )
    return chosen
