"""Owns the result of a segmented study: its lesions, what decided them, and a sentence that sums them up."""

import math
from dataclasses import dataclass

from brainmets.imaging.findings import Finding
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesUse

# Slices that lean by more cut a lesion so that its diameters are not those of the patient's axial plane.
TOLD_ANGULATION_DEG = 5.0
INTENDED_USE = "Research use only. Not for diagnosis."


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A network that took part.

    Attributes:
        model_name: Triton's name of it.
        model_version: Triton's version of it.
        onnx_sha256: SHA-256 of its ONNX file, lower-case hexadecimal.
    """

    model_name: str
    model_version: str
    onnx_sha256: str


@dataclass(frozen=True, slots=True)
class SegmentationResult:
    """Everything a segmented study says, without voxels.

    Attributes:
        lesions: By falling volume; empty when none was found, which is a result like any other.
        geometry: Acquired grid of the T1c, which is the mask's.
        sequences_used: Sequences that the networks saw.
        findings: What a reader should know about the input.
        models: Networks whose probabilities were averaged.
        threshold: Probability from which a voxel belongs to the mask.
        min_lesion_volume_mm3: Components below this volume were left out.
        target: What the mask's one class means.
        input_sha256: SHA-256 over the study's files as submitted, lower-case hexadecimal.
        software_version: Version of brainmets.
        series: Every series that was sent, and what became of it.
        candidates_outside_brain: Candidates that were left out because they lie outside the brain.
        operating_point: The offered point that decided; None where the client gave figures of its own.
        min_peak_probability: Components of which no voxel reached it were left out; 0 asks nothing.
    """

    lesions: tuple[Lesion, ...]
    geometry: Geometry
    sequences_used: tuple[Sequence, ...]
    findings: tuple[Finding, ...]
    models: tuple[ModelUse, ...]
    threshold: float
    min_lesion_volume_mm3: float
    target: str
    input_sha256: str
    software_version: str
    series: tuple[SeriesUse, ...] = ()
    candidates_outside_brain: int = 0
    operating_point: OperatingPointName | None = None
    min_peak_probability: float = 0.0

    @property
    def intended_use(self) -> str:
        """What the result may be used for."""
        return INTENDED_USE

    @property
    def smallest_diameter_mm(self) -> float:
        """Diameter of the sphere that is as large as the smallest lesion that can be reported."""
        smallest_mm3 = max(self.min_lesion_volume_mm3, self.geometry.voxel_volume_mm3)
        return equivalent_diameter_mm(smallest_mm3)

    @property
    def statement(self) -> str:
        """One sentence that sums the result up and says what it cannot say."""
        limit = f"{self.smallest_diameter_mm:.1f} mm"
        names = " and ".join(model.model_name for model in self.models)
        peak = f", {self.min_peak_probability:g} at its peak" if self.min_peak_probability > self.threshold else ""
        point = f"at this operating point ({names}, probability {self.threshold:g} or more{peak})"
        if not self.lesions:
            return f"No lesion: none found above {limit} {point}; this does not exclude metastases."
        longest_mm = max(lesion.longest_axial_diameter_mm for lesion in self.lesions)
        angulation_deg = self.geometry.angulation_deg
        leaning = angulation_deg > TOLD_ANGULATION_DEG
        plane = f"axial slices angled by {angulation_deg:.0f} degrees" if leaning else "the axial plane"
        found = "1 lesion" if len(self.lesions) == 1 else f"{len(self.lesions)} lesions"
        return (
            f"{found} found above {limit} {point}, up to {longest_mm:.1f} mm in {plane}; this does not exclude others."
        )


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Return the diameter of the sphere of this volume."""
    return float((6.0 * volume_mm3 / math.pi) ** (1.0 / 3.0))
