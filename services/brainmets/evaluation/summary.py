"""Owns the summary of a data set: every figure of one network over its studies, with intervals, ready for JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from brainmets.evaluation.calibration import ProbabilityCounts
from brainmets.evaluation.interval import Figure, estimate_mean, estimate_ratio
from brainmets.evaluation.study_score import StudyScore
from brainmets.imaging.mets_metric import LesionwiseScore, count_found_by_size

Json = dict[str, object]
DIGITS = 4


def summarize(scores: Sequence[StudyScore], counts: ProbabilityCounts) -> Json:
    """Return the figures of a network over a data set.

    Dice of patients, slices and lesions are three kinds of number that are never compared with each other. Intervals
    are percentiles of a bootstrap over studies; None where there are too few.
    """
    return {
        "studies": len(scores),
        "patient_dice": _mean([score.dice for score in scores]),
        "slice_dice": _mean([score.slice_dice for score in scores]),
        "hd95_mm": _mean([score.hd95_mm for score in scores]),
        "lesionwise_dice": _mean([score.lesionwise.dice for score in scores]),
        "lesionwise_hd95_mm": _mean([score.lesionwise.hd95_mm for score in scores]),
        "sensitivity_by_diameter_mm": _sensitivity([score.lesionwise for score in scores]),
        "false_positives_per_study": _false_positives(scores),
        "false_positives_per_study_with_skull": _false_positives([each for each in scores if each.with_skull]),
        "false_positives_per_study_without_skull": _false_positives([each for each in scores if not each.with_skull]),
        "largest_false_positive_mm3": max(
            (volume_mm3 for score in scores for volume_mm3 in score.lesionwise.false_positives_mm3), default=0.0
        ),
        "calibration": {
            "expected_calibration_error": _round(counts.expected_error()),
            "voxels": counts.voxels,
            "reliability": [asdict(cell) for cell in counts.reliability()],
        },
        "per_study": [describe_study(score) for score in scores],
    }


def describe_study(score: StudyScore) -> Json:
    """Return one study's line of the table."""
    return {
        "study": score.study,
        "with_skull": score.with_skull,
        "patient_dice": _round(score.dice),
        "slice_dice": _round(score.slice_dice),
        "hd95_mm": _round(score.hd95_mm),
        "lesionwise_dice": _round(score.lesionwise.dice),
        "lesions": len(score.lesionwise.lesions),
        "found": score.lesions_found,
        "false_positives": score.lesionwise.false_positives,
        "false_positives_mm3": list(score.lesionwise.false_positives_mm3),
        "reference_mm3": _round(score.reference_mm3),
        "predicted_mm3": _round(score.predicted_mm3),
    }


def _sensitivity(scores: Sequence[LesionwiseScore]) -> Mapping[str, Json]:
    per_study = [count_found_by_size([score]) for score in scores]
    classes: dict[str, Json] = {}
    for sized in zip(*per_study, strict=True):
        above_mm, below_mm = sized[0].above_mm, sized[0].below_mm
        name = f"{above_mm:g}-{below_mm:g}" if math.isfinite(below_mm) else f">={above_mm:g}"
        found, lesions = [each.found for each in sized], [each.lesions for each in sized]
        counts: Json = {"found": sum(found), "lesions": sum(lesions)}
        classes[name] = counts | _describe(estimate_ratio(found, lesions))
    return classes


def _false_positives(scores: Sequence[StudyScore]) -> Json:
    return _mean([float(score.lesionwise.false_positives) for score in scores])


def _mean(values: Sequence[float]) -> Json:
    return _describe(estimate_mean(values))


def _describe(figure: Figure) -> Json:
    return {"value": _round(figure.value), "low": _round(figure.low), "high": _round(figure.high)}


def _round(value: float) -> float | None:
    """Return a number for JSON, which knows no NaN."""
    return round(value, DIGITS) if math.isfinite(value) else None
