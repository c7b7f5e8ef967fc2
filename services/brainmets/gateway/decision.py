"""Owns the decision on a study: from probabilities on the acquired grid to lesions and everything the result says."""

from dataclasses import dataclass

from brainmets import __version__
from brainmets.gateway.model_contract import SegmentationPlan
from brainmets.imaging.lesions import InstanceMap, drop_outside_brain, find_candidates, measure_lesions
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.result import ModelUse, SegmentationResult
from brainmets.wire.tiles import StudyHeader


@dataclass(frozen=True, slots=True, eq=False)
class DecidedStudy:
    """A study's probabilities, its lesions, and what is said about them; all on the acquired grid."""

    probability: ProbabilityMap
    instances: InstanceMap
    result: SegmentationResult


def decide(
    probability: ProbabilityMap, header: StudyHeader, *, plan: SegmentationPlan, input_sha256: str
) -> DecidedStudy:
    """Find and measure a study's lesions at the plan's operating point.

    Args:
        probability: What the networks say together, on the acquired grid.
        header: What preprocessing knows of the study.
        plan: Which networks decided, and at which operating point.
        input_sha256: SHA-256 over the study's files as submitted, lower-case hexadecimal.
    """
    candidates = find_candidates(probability, plan.point)
    instances = drop_outside_brain(candidates, header.brain, header.normalized)
    result = SegmentationResult(
        lesions=measure_lesions(instances, probability, midline=header.midline),
        geometry=probability.geometry,
        sequences_used=header.sequences,
        findings=header.findings,
        models=tuple(ModelUse(model.model_name, model.model_version, model.onnx_sha256) for model in plan.models),
        threshold=plan.point.threshold,
        min_lesion_volume_mm3=plan.point.min_lesion_volume_mm3,
        target=plan.target,
        input_sha256=input_sha256,
        software_version=__version__,
        series=header.series,
        candidates_outside_brain=candidates.count - instances.count,
        operating_point=plan.operating_point,
        min_peak_probability=plan.point.min_peak_probability,
    )
    return DecidedStudy(probability, instances, result)
