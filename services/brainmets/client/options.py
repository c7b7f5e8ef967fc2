"""How a study is to be segmented, as the caller says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brainmets.client.names import sequence_number
from brainmets.v1 import job_pb2, result_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL_CHOICES = {
    "mean": job_pb2.MODEL_CHOICE_MEAN,
    "nested_unet": job_pb2.MODEL_CHOICE_NESTED_UNET,
    "attention_unet": job_pb2.MODEL_CHOICE_ATTENTION_UNET,
}
OPERATING_POINTS = {
    None: result_pb2.OPERATING_POINT_UNSPECIFIED,
    "sensitive": result_pb2.OPERATING_POINT_SENSITIVE,
    "balanced": result_pb2.OPERATING_POINT_BALANCED,
    "specific": result_pb2.OPERATING_POINT_SPECIFIC,
}


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """How to segment; None leaves the choice to the service.

    Attributes:
        model: `mean` (default), `nested_unet` or `attention_unet`.
        operating_point: `balanced` (the service's default), `sensitive` or `specific`; figures given here win over it.
        threshold: Probability from which a voxel belongs to the mask, inside (0, 1).
        min_lesion_volume_mm3: Smallest lesion kept, mm³.
        min_peak_probability: Lesions of which no voxel reaches it are left out, in [0, 1).
        deadline_s: Time from acceptance to a final state, seconds.
        force: Segment although a severe finding speaks against it; the findings stay in the result.
        series: SeriesNumber of a DICOM series by the sequence it is to be taken for, for example {"t1c": 5}.
        test: The study tests the service and is no patient's; the service's metrics of results and inputs leave it out.
    """

    model: str = "mean"
    operating_point: str | None = None
    threshold: float | None = None
    min_lesion_volume_mm3: float | None = None
    min_peak_probability: float | None = None
    deadline_s: float | None = None
    force: bool = False
    series: Mapping[str, int] = field(default_factory=dict)
    test: bool = False

    def to_proto(self) -> job_pb2.SegmentationOptions:
        """Return the options as the service takes them.

        Raises:
            ValueError: The model is not one of `MODEL_CHOICES`, the operating point not one of `OPERATING_POINTS`, or a
                sequence not one of `SEQUENCES`.
        """
        if self.operating_point not in OPERATING_POINTS:
            names = ", ".join(name for name in OPERATING_POINTS if name is not None)
            raise ValueError(f"expected an operating point of {names}, got {self.operating_point}")
        if self.model not in MODEL_CHOICES:
            raise ValueError(f"expected a model of {', '.join(MODEL_CHOICES)}, got {self.model}")
        options = job_pb2.SegmentationOptions(
            model=MODEL_CHOICES[self.model],
            operating_point=OPERATING_POINTS[self.operating_point],
            threshold=self.threshold,
            min_lesion_volume_mm3=self.min_lesion_volume_mm3,
            min_peak_probability=self.min_peak_probability,
            force=self.force,
            test=self.test,
            series=[
                job_pb2.SeriesSelection(sequence=sequence_number(sequence), series_number=number)
                for sequence, number in self.series.items()
            ],
        )
        if self.deadline_s is not None:
            options.deadline.FromMilliseconds(round(1000 * self.deadline_s))
        return options
