"""A segmented study is counted by what a drift would change."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from brainmets.runtime.study_metrics import StudyMetrics
from imaging_cases import axial_geometry, ball_mask
from result_cases import make_result

GEOMETRY = axial_geometry((40, 40, 40))
# A ball of 12 mm has 905 mm³, and its voxels of 1 mm nearly as many.
RESULT = make_result(ball_mask(12.0, geometry=GEOMETRY, centre_mm=np.array([20.0, 20.0, 20.0])))


@pytest.fixture
def registry() -> CollectorRegistry:
    """What is told of one study whose networks agreed by 0.9."""
    registry = CollectorRegistry()
    StudyMetrics(registry).note(RESULT, agreement=0.9, t1c_ceiling=5.5)
    return registry


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("study_lesions_bucket", {"le": "0.0"}, 0),
        ("study_lesions_bucket", {"le": "1.0"}, 1),
        ("lesion_volume_mm3_bucket", {"le": "525.0"}, 0),
        ("lesion_volume_mm3_bucket", {"le": "1770.0"}, 1),
        ("candidates_outside_brain_total", {}, 2),
        ("study_spacing_mm_bucket", {"le": "0.7"}, 0),
        ("study_spacing_mm_bucket", {"le": "1.0"}, 1),
        ("study_intensity_ceiling_deviations_bucket", {"le": "5.0"}, 0),
        ("study_intensity_ceiling_deviations_bucket", {"le": "6.0"}, 1),
        ("findings_total", {"finding": "thick_slices", "severity": "warning"}, 1),
        ("findings_total", {"finding": "thick_slices", "severity": "severe"}, 0),
        ("network_agreement_bucket", {"le": "0.85"}, 0),
        ("network_agreement_bucket", {"le": "0.9"}, 1),
    ],
)
def test_a_study_is_counted(registry: CollectorRegistry, name: str, labels: dict[str, str], value: float) -> None:
    """Its lesions, their volumes, its slices, its intensities, its findings and how far the networks agree."""
    assert registry.get_sample_value(f"brainmets_worker_{name}", labels) == value


def test_one_network_alone_agrees_with_nobody() -> None:
    """There is nothing to be told, which is not 0."""
    registry = CollectorRegistry()
    StudyMetrics(registry).note(RESULT, agreement=None, t1c_ceiling=5.5)
    assert registry.get_sample_value("brainmets_worker_network_agreement_count") == 0
