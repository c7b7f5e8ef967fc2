"""The networks the service uses, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmets.client.names import sequence_name, word_of
from brainmets.v1 import result_pb2

if TYPE_CHECKING:
    from brainmets.v1 import model_service_pb2


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a network decides.

    Attributes:
        name: `sensitive`, `balanced` or `specific`.
        threshold: Probability from which a voxel belongs to the mask.
        min_lesion_volume_mm3: Smallest lesion kept, mm³.
        min_peak_probability: Lesions of which no voxel reaches it are left out.
    """

    name: str
    threshold: float
    min_lesion_volume_mm3: float
    min_peak_probability: float


@dataclass(frozen=True, slots=True)
class Model:
    """A network the service uses."""

    model_name: str
    model_version: str
    onnx_sha256: str
    sequences: tuple[str, ...]
    threshold: float
    operating_points: tuple[OperatingPoint, ...]
    target: str
    training: str
    ready: bool


def model_from_proto(model: model_service_pb2.Model) -> Model:
    """Read a model."""
    return Model(
        model_name=model.model_name,
        model_version=model.model_version,
        onnx_sha256=model.onnx_sha256,
        sequences=tuple(sequence_name(sequence) for sequence in model.sequences),
        threshold=model.threshold,
        operating_points=tuple(
            OperatingPoint(
                word_of(result_pb2.OperatingPoint, point.operating_point, prefix="OPERATING_POINT_"),
                point.threshold,
                point.min_lesion_volume_mm3,
                point.min_peak_probability,
            )
            for point in model.operating_points
        ),
        target=model.target,
        training=model.training,
        ready=model.ready,
    )
