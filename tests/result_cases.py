"""Owns decided studies with known lesions, for the tests of what is made of them."""

import numpy as np

from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.lesions import LesionMask, find_lesions, measure_lesions
from brainmets.imaging.midline import Midline
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.result import ModelUse, SegmentationResult
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesReason, SeriesUse

SERIES = (
    SeriesUse(
        0, 3, 4, Sequence.T1C, SeriesReason.CHOSEN, "After contrast medium.", (20, 31, 46), (5, 1, 1), stated=True
    ),
    SeriesUse(1, 9, None, None, SeriesReason.LOCALIZER, "It is a localizer.", None, None),
)
MIDLINE = Midline((1.0, 0.0, 0.0), 15.0)


def decided_lesions(mask: LesionMask) -> tuple[Lesion, ...]:
    """Return the lesions of a mask, each of probability 0.75."""
    probability = ProbabilityMap(mask.voxels.astype(np.float32) * np.float32(0.75), mask.geometry)
    return measure_lesions(find_lesions(mask, min_volume_mm3=0.0), probability, midline=MIDLINE)


def make_result(mask: LesionMask) -> SegmentationResult:
    """Return a result with something in every field."""
    return SegmentationResult(
        lesions=decided_lesions(mask),
        geometry=mask.geometry,
        sequences_used=(Sequence.T1C, Sequence.T2F),
        findings=(Finding(FindingCode.THICK_SLICES, "The slices are thick.", Sequence.T1C),),
        models=(ModelUse("nested_unet", "3", "ab" * 32),),
        threshold=0.5,
        min_lesion_volume_mm3=14.0,
        target="tumour core",
        input_sha256="cd" * 32,
        software_version="0.1.0",
        series=SERIES,
        candidates_outside_brain=2,
        operating_point=OperatingPointName.SENSITIVE,
        min_peak_probability=0.875,
    )
