"""Owns the metrics contract: every metric is declared here, once, with its unit and closed sets of labels.

Names are brainmets_<service>_<thing>_<base unit>[_total]; services: gateway (its API), worker, preprocessing.
A label that is not in its set is counted as "other", so that nothing a client sends can add a time series.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.grpc_errors import STATUS_CODES, status_code_of
from brainmets.runtime.tracing import trace_exemplar

OTHER = "other"
REASONS = tuple(sorted(kind.reason for kind in STATUS_CODES))
PREPARATION_STAGES = ("fetch", "decode", "align", "outline", "normalize", "midline", "assess", "plan", "stream")

# From an answer out of Redis to a study's deadline.
RPC_BUCKETS_S = (
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    600.0,
)
# From a plane's planning to two networks' compute on two cores.
STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# One metastasis, few (up to 4), and counts at which radiosurgery is weighed against whole-brain radiation.
LESION_BUCKETS = (0, 1, 2, 3, 4, 6, 10, 15, 20, 50)


@dataclass(slots=True)
class MeasuredCall:
    """A call under way; `code` is what it will be counted as when no exception says otherwise."""

    code: grpc.StatusCode = grpc.StatusCode.OK


class RpcMetrics:
    """Calls of a process by method and code: those it answers, or, of a worker, those it makes."""

    def __init__(self, registry: CollectorRegistry, *, service: str, methods: Iterable[str]) -> None:
        self._methods = _LabelSet(methods)
        prefix = f"brainmets_{service}"
        self._calls = Counter(f"{prefix}_rpcs", "Calls that ended, by code.", ("method", "code"), registry=registry)
        self._duration = Histogram(
            f"{prefix}_rpc_duration_seconds",
            "Time from a call's start to its end, streams included.",
            ("method",),
            buckets=RPC_BUCKETS_S,
            registry=registry,
        )
        self._active = Gauge(f"{prefix}_rpcs_active", "Calls under way.", ("method",), registry=registry)
        for method in self._methods.values:
            self._calls.labels(method, grpc.StatusCode.OK.name)
            self._duration.labels(method)
            self._active.labels(method)

    @contextmanager
    def measure(self, method: str) -> Iterator[MeasuredCall]:
        """Count and time one call; an exception that leaves the block decides its code."""
        method = self._methods.label(method)
        call = MeasuredCall()
        started_s = time.perf_counter()
        with self._active.labels(method).track_inprogress():
            try:
                yield call
            except BaseException as error:
                if call.code is grpc.StatusCode.OK:
                    call.code = _code_of_exception(error)
                raise
            finally:
                self._calls.labels(method, call.code.name).inc()
                self._duration.labels(method).observe(time.perf_counter() - started_s)


def _code_of_exception(error: BaseException) -> grpc.StatusCode:
    if isinstance(error, BrainmetsError):
        return status_code_of(error)
    if isinstance(error, grpc.RpcError):
        return error.code()
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.UNKNOWN


class ApiMetrics:
    """What the gateway's API does, besides its calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.received_bytes = Counter(
            "brainmets_gateway_received_bytes", "Bytes of studies that clients sent.", registry=registry
        )
        self.sent_bytes = Counter(
            "brainmets_gateway_sent_bytes", "Bytes of artefacts that clients fetched.", registry=registry
        )


class QueueMetrics:
    """How much work there is, as Redis says; the same from whichever process is asked."""

    def __init__(self, registry: CollectorRegistry, *, service: str) -> None:
        prefix = f"brainmets_{service}"
        self._queued = Gauge(f"{prefix}_jobs_queued", "Jobs that wait for a worker.", registry=registry)
        self._running = Gauge(f"{prefix}_jobs_running", "Jobs that a worker holds.", registry=registry)
        # One series to scale workers on: several conditions are combined by their maximum, not by their sum.
        self._outstanding = Gauge(
            f"{prefix}_jobs_outstanding",
            "Jobs accepted and not ended: queued and running.",
            registry=registry,
        )
        self._oldest_age = Gauge(
            f"{prefix}_queue_oldest_age_seconds", "Age of the job that waits longest.", registry=registry
        )

    def note(self, *, queued: int, running: int, oldest_age_s: float) -> None:
        """Tell what the queue is like now."""
        self._queued.set(queued)
        self._running.set(running)
        self._outstanding.set(queued + running)
        self._oldest_age.set(oldest_age_s)


class WorkerMetrics:
    """What a worker does with the jobs it claims.

    `stages`, `reasons` and `models` are the closed sets of their labels.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        stages: Iterable[str],
        reasons: Iterable[str],
        models: Iterable[str],
    ) -> None:
        self._outcomes = _LabelSet(("succeeded", "failed", "cancelled", "released"))
        self._stages = _LabelSet(stages)
        self._reasons = _LabelSet(reasons)
        self._models = _LabelSet(models)
        self._declare_attempts(registry)
        self._declare_inference(registry)

    def _declare_attempts(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "brainmets_worker_attempts", "Attempts that ended, by outcome.", ("outcome",), registry=registry
        )
        self._failures = Counter(
            "brainmets_worker_failures", "Jobs that failed, by reason.", ("reason",), registry=registry
        )
        self._stage_duration = Histogram(
            "brainmets_worker_stage_duration_seconds",
            "Time a study spent in a stage.",
            ("stage",),
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.cache_hits = Counter(
            "brainmets_worker_cache_hits", "Jobs answered with an earlier result.", registry=registry
        )
        self.lesions = Histogram(
            "brainmets_worker_study_lesions",
            "Lesions a study has.",
            buckets=LESION_BUCKETS,
            registry=registry,
        )
        self.written_bytes = Counter("brainmets_worker_written_bytes", "Bytes of artefacts written.", registry=registry)
        self.received_bytes = Counter(
            "brainmets_worker_received_bytes",
            "Bytes of tiles that came from preprocessing.",
            registry=registry,
        )
        _start_at_zero(self._attempts, self._outcomes)
        _start_at_zero(self._failures, self._reasons)
        _start_at_zero(self._stage_duration, self._stages)

    def _declare_inference(self, registry: CollectorRegistry) -> None:
        self._tiles = Counter("brainmets_worker_tiles", "Tiles inferred.", ("model",), registry=registry)
        self._tile_duration = Histogram(
            "brainmets_worker_tile_duration_seconds",
            "Time from sending a tile to its probability, waiting included.",
            ("model",),
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.inference_healthy = Gauge(
            "brainmets_worker_inference_healthy",
            "1 while a real inference succeeds, else 0.",
            registry=registry,
        )
        _start_at_zero(self._tiles, self._models)
        _start_at_zero(self._tile_duration, self._models)

    def note_attempt(self, outcome: str) -> None:
        """Count an attempt that succeeded, failed, was cancelled (or lost its lease), or was released."""
        self._attempts.labels(self._outcomes.label(outcome)).inc()

    def note_failure(self, reason: str) -> None:
        """Count a job that failed."""
        self._failures.labels(self._reasons.label(reason)).inc()

    def note_stage(self, stage: str, *, duration_s: float) -> None:
        """Tell how long a study was in a stage."""
        self._stage_duration.labels(self._stages.label(stage)).observe(duration_s, exemplar=trace_exemplar())

    def note_tile(self, model_name: str, *, duration_s: float) -> None:
        """Count a tile that a network answered."""
        model = self._models.label(model_name)
        self._tiles.labels(model).inc()
        self._tile_duration.labels(model).observe(duration_s)


class PreprocessingMetrics:
    """What preprocessing does with a study."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages = _LabelSet(PREPARATION_STAGES)
        self._reasons = _LabelSet(REASONS)
        self._stage_duration = Histogram(
            "brainmets_preprocessing_stage_duration_seconds",
            "Time a study spent in a stage; of stream, one tile.",
            ("stage",),
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._failures = Counter(
            "brainmets_preprocessing_failures",
            "Studies not prepared, by reason.",
            ("reason",),
            registry=registry,
        )
        self.studies_active = Gauge("brainmets_preprocessing_studies_active", "Studies under way.", registry=registry)
        self.tiles = Counter("brainmets_preprocessing_tiles", "Tiles sent.", registry=registry)
        self.read_bytes = Counter(
            "brainmets_preprocessing_read_bytes", "Bytes read from the artefact store.", registry=registry
        )
        self.decoders_discarded = Counter(
            "brainmets_preprocessing_decoders_discarded",
            "Decoders replaced: they refused a study, broke on one, or were stopped.",
            registry=registry,
        )
        self.sent_bytes = Counter("brainmets_preprocessing_sent_bytes", "Bytes of tiles sent.", registry=registry)
        _start_at_zero(self._stage_duration, self._stages)
        _start_at_zero(self._failures, self._reasons)

    @contextmanager
    def measure_stage(self, stage: str) -> Iterator[None]:
        """Time a stage that succeeds."""
        started_s = time.perf_counter()
        yield
        self._stage_duration.labels(self._stages.label(stage)).observe(time.perf_counter() - started_s)

    @contextmanager
    def measure_study(self) -> Iterator[None]:
        """Count a study as under way, and its reason when it fails."""
        with self.studies_active.track_inprogress():
            try:
                yield
            except Exception as error:
                reason = error.reason if isinstance(error, BrainmetsError) else OTHER
                self._failures.labels(self._reasons.label(reason)).inc()
                raise


class _LabelSet:
    """The closed set of values of one label."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = tuple(sorted({*values, OTHER}))

    def label(self, value: str) -> str:
        """Return the value when it is in the set, else "other"."""
        return value if value in self.values else OTHER


def _start_at_zero(metric: Counter | Histogram, labels: _LabelSet) -> None:
    # A series that appears with its first event hides that event from rate().
    for value in labels.values:
        metric.labels(value)
