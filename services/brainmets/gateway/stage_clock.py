"""Owns how long an attempt stays in each stage."""

import time

from brainmets.gateway.jobs import Progress, Stage
from brainmets.runtime.metrics import WorkerMetrics
from brainmets.runtime.tracing import record_span


class StageClock:
    """Times the stages of one attempt by its progress; a stage that is broken off is not counted."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._stage = Stage.NONE
        self._entered_s = 0.0

    def note(self, progress: Progress) -> None:
        """Take notice of a progress; one of another stage ends the stage before."""
        if progress.stage is self._stage:
            return
        now_s = time.perf_counter()
        if self._stage is not Stage.NONE:
            self._metrics.note_stage(self._stage, duration_s=now_s - self._entered_s)
            record_span(self._stage, duration_s=now_s - self._entered_s)
        self._stage, self._entered_s = progress.stage, now_s
