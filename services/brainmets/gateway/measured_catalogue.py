"""Owns the watch over which networks are served: whoever asks for one, its digest is told."""

import re

from brainmets.gateway.inference import ModelCatalogue
from brainmets.gateway.model_contract import ModelDescription
from brainmets.runtime.metrics import WorkerMetrics

_SHA256 = re.compile(r"[0-9a-f]{64}")


class MeasuredCatalogue:
    """A `ModelCatalogue` around another one."""

    def __init__(self, catalogue: ModelCatalogue, metrics: WorkerMetrics) -> None:
        self._catalogue = catalogue
        self._metrics = metrics

    async def describe(self, model_name: str) -> ModelDescription:
        """Return what the inner one answers, and tell the digest that it names, if it names one."""
        description = await self._catalogue.describe(model_name)
        digest = description.parameters.get("onnx_sha256", "")
        if _SHA256.fullmatch(digest):
            self._metrics.note_digest(model_name, digest)
        return description
