"""Owns what is told of inputs and results: their counts only, over all studies, so that a drift shows."""

from prometheus_client import CollectorRegistry

from brainmets.imaging.findings import FindingCode, Severity
from brainmets.imaging.result import SegmentationResult
from brainmets.runtime import metric_contract as contract
from brainmets.runtime.label_set import LabelSet, start_at_zero


class StudyMetrics:
    """Lesions, findings, slices and intensities of the studies that a worker segmented."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._codes = LabelSet(FindingCode)
        self._severities = LabelSet(Severity)
        self._lesions = contract.STUDY_LESIONS.histogram(registry, "worker")
        self._volume = contract.LESION_VOLUME.histogram(registry, "worker")
        self._outside_brain = contract.CANDIDATES_OUTSIDE_BRAIN.counter(registry, "worker")
        self._spacing = contract.STUDY_SPACING.histogram(registry, "worker")
        self._ceiling = contract.STUDY_CEILING.histogram(registry, "worker")
        self._findings = contract.FINDINGS.counter(registry, "worker")
        self._agreement = contract.NETWORK_AGREEMENT.histogram(registry, "worker")
        self._tests = contract.TEST_STUDIES.counter(registry, "worker")
        start_at_zero(self._findings, self._codes, self._severities)

    def note_test(self) -> None:
        """Count a segmented study that tests the service; nothing else of it is told."""
        self._tests.inc()

    def note(self, result: SegmentationResult, *, agreement: float | None, t1c_ceiling: float) -> None:
        """Count a segmented study.

        Args:
            result: What was decided.
            agreement: Dice of two networks' decisions, None where there is none.
            t1c_ceiling: The normalised T1c's largest voxel, standard deviations of the brain.
        """
        if agreement is not None:
            self._agreement.observe(agreement)
        self._lesions.observe(len(result.lesions))
        for lesion in result.lesions:
            self._volume.observe(lesion.volume_mm3)
        self._outside_brain.inc(result.candidates_outside_brain)
        self._spacing.observe(max(result.geometry.spacing_mm))
        self._ceiling.observe(t1c_ceiling)
        for finding in result.findings:
            self._findings.labels(self._codes.label(finding.code), self._severities.label(finding.severity)).inc()
