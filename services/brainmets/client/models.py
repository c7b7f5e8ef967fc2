"""The networks the service uses, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmets.client.names import sequence_name

if TYPE_CHECKING:
    from brainmets.v1 import model_service_pb2


@dataclass(frozen=True, slots=True)
class Model:
    """A network the service uses."""

    model_name: str
    model_version: str
    onnx_sha256: str
    sequences: tuple[str, ...]
    threshold: float
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
        target=model.target,
        training=model.training,
        ready=model.ready,
    )
