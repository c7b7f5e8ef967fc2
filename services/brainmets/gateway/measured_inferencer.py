"""Owns the measure of inference: tiles are counted and timed by network, whoever infers them."""

import time
from contextlib import AbstractAsyncContextManager

import numpy as np
from numpy.typing import NDArray

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.inference import TileInferencer, TileShape
from brainmets.gateway.model_contract import ModelContract
from brainmets.runtime.metrics import WorkerMetrics
from brainmets.runtime.tracing import SpanKind, span


class MeasuredInferencer:
    """A `TileInferencer` around another one."""

    def __init__(self, inferencer: TileInferencer, metrics: WorkerMetrics) -> None:
        self._inferencer = inferencer
        self._metrics = metrics

    def hold(self, shape: TileShape) -> AbstractAsyncContextManager[NDArray[np.float32]]:
        """Return the inner one's memory."""
        return self._inferencer.hold(shape)

    async def infer(
        self, model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return what the inner one answers, and count a tile that it answered."""
        started_s = time.perf_counter()
        with span("infer", kind=SpanKind.CLIENT, model_name=model.model_name, size_bytes=voxels.nbytes):
            probability = await self._inferencer.infer(model, voxels, deadline=deadline)
        self._metrics.note_tile(model.model_name, duration_s=time.perf_counter() - started_s)
        return probability
