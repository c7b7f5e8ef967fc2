"""Owns how processes record what they do; what the metrics are called and mean is declared in metric_contract.

A label that is not in its set is counted as "other", so that nothing a client sends can add a time series.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime import metric_contract as contract
from brainmets.runtime.grpc_errors import STATUS_CODES, status_code_of
from brainmets.runtime.label_set import OTHER, LabelSet, start_at_zero
from brainmets.runtime.study_metrics import StudyMetrics
from brainmets.runtime.tracing import trace_exemplar

REASONS = tuple(sorted(kind.reason for kind in STATUS_CODES))
PREPARATION_STAGES = (
    "fetch",
    "decode",
    "place",
    "align",
    "outline",
    "normalize",
    "midline",
    "assess",
    "plan",
    "stream",
)
SUBMITTING_METHODS = ("SegmentStudy", "SubmitStudy")
# Hexadecimal digits of a digest that are told.
DIGEST_DIGITS = 12


@dataclass(slots=True)
class MeasuredCall:
    """A call under way.

    Attributes:
        code: What it will be counted as when no exception says otherwise.
        exemplar: The trace that its duration points to.
    """

    code: grpc.StatusCode = grpc.StatusCode.OK
    exemplar: dict[str, str] | None = None


class RpcMetrics:
    """Calls of a process by method and code: those it answers, or, of a worker, those it makes."""

    def __init__(self, registry: CollectorRegistry, *, service: str, methods: Iterable[str]) -> None:
        self._methods = LabelSet(methods)
        self._calls = contract.RPCS.counter(registry, service)
        self._duration = contract.RPC_DURATION.histogram(registry, service)
        self._active = contract.RPCS_ACTIVE.gauge(registry, service)
        for method in self._methods.values:
            self._calls.labels(method, grpc.StatusCode.OK.name)
            self._duration.labels(method)
            self._active.labels(method)

    @contextmanager
    def measure(self, method: str) -> Iterator[MeasuredCall]:
        """Count and time one call; an exception that leaves the block decides its code."""
        method = self._methods.label(method)
        call = MeasuredCall(exemplar=trace_exemplar())
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
                self._duration.labels(method).observe(time.perf_counter() - started_s, exemplar=call.exemplar)


def _code_of_exception(error: BaseException) -> grpc.StatusCode:
    if isinstance(error, BrainmetsError):
        return status_code_of(error)
    if isinstance(error, grpc.RpcError):
        return error.code()
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.UNKNOWN


class DependencyMetrics:
    """Whether what a process depends on answers it; 0 until it was looked at."""

    def __init__(self, registry: CollectorRegistry, *, service: str, names: Iterable[str]) -> None:
        self._up = contract.DEPENDENCY_UP.gauge(registry, service)
        for name in names:
            self._up.labels(name)

    def note(self, name: str, up: bool) -> None:  # noqa: FBT001 -- a callback's argument
        """Tell whether a dependency of those names answered."""
        self._up.labels(name).set(up)


class ApiMetrics:
    """What the gateway's API does, besides its calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._submissions = contract.SUBMISSIONS.counter(registry, "gateway")
        start_at_zero(self._submissions, LabelSet(code.name for code in grpc.StatusCode))
        self.received_bytes = contract.API_RECEIVED.counter(registry, "gateway")
        self.sent_bytes = contract.API_SENT.counter(registry, "gateway")
        self._registry = registry

    @contextmanager
    def measure_submission(self) -> Iterator[None]:
        """Count a study as accepted when the block ends, or by the code that refuses it."""
        code = grpc.StatusCode.OK
        try:
            yield
        except BaseException as error:
            code = _code_of_exception(error)
            raise
        finally:
            self._submissions.labels(code.name).inc()

    def note_overload(self, method: str) -> None:
        """Count a study that was refused before its servicer saw it; other methods submit none."""
        if method.rsplit("/", 1)[-1] in SUBMITTING_METHODS:
            self._submissions.labels(grpc.StatusCode.RESOURCE_EXHAUSTED.name).inc()

    def watch_certificate(self, read_expiry_s: Callable[[], float]) -> None:
        """Tell when a certificate expires, read anew for each scrape: certificates are renewed under a process."""
        contract.CERTIFICATE_EXPIRY.gauge(self._registry, "gateway").set_function(read_expiry_s)


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
        self._outcomes = LabelSet(("succeeded", "failed", "cancelled", "released"))
        self._stages = LabelSet(stages)
        self._reasons = LabelSet(reasons)
        self._models = LabelSet(models)
        self._attempts = contract.ATTEMPTS.counter(registry, "worker")
        self._failures = contract.FAILURES.counter(registry, "worker")
        self._stage_duration = contract.STAGE_DURATION.histogram(registry, "worker")
        self.cache_hits = contract.CACHE_HITS.counter(registry, "worker")
        self.written_bytes = contract.WRITTEN.counter(registry, "worker")
        self.received_bytes = contract.TILES_RECEIVED.counter(registry, "worker")
        self._tiles = contract.TILES_INFERRED.counter(registry, "worker")
        self._tile_duration = contract.TILE_DURATION.histogram(registry, "worker")
        self.inference_healthy = contract.INFERENCE_HEALTHY.gauge(registry, "worker")
        self._model_digest = contract.MODEL_DIGEST.gauge(registry, "worker")
        self.study = StudyMetrics(registry)
        start_at_zero(self._attempts, self._outcomes)
        start_at_zero(self._failures, self._reasons)
        start_at_zero(self._stage_duration, self._stages)
        start_at_zero(self._tiles, self._models)
        start_at_zero(self._tile_duration, self._models)

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
        self._tile_duration.labels(model).observe(duration_s, exemplar=trace_exemplar())

    def note_digest(self, model_name: str, onnx_sha256: str) -> None:
        """Tell which network Triton serves under a name; SHA-256 in lower-case hexadecimal."""
        # As many bits as a float64 holds exactly; as a label the digest would be a set that is not closed.
        self._model_digest.labels(self._models.label(model_name)).set(int(onnx_sha256[:DIGEST_DIGITS], 16))


class PreprocessingMetrics:
    """What preprocessing does with a study."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages = LabelSet(PREPARATION_STAGES)
        self._reasons = LabelSet(REASONS)
        self._stage_duration = contract.STAGE_DURATION.histogram(registry, "preprocessing")
        self._failures = contract.PREPARATION_FAILURES.counter(registry, "preprocessing")
        self.studies_active = contract.STUDIES_ACTIVE.gauge(registry, "preprocessing")
        self.tiles = contract.TILES_SENT.counter(registry, "preprocessing")
        self.sent_bytes = contract.TILE_BYTES_SENT.counter(registry, "preprocessing")
        self.read_bytes = contract.STORE_READ.counter(registry, "preprocessing")
        self.decoders_discarded = contract.DECODERS_DISCARDED.counter(registry, "preprocessing")
        start_at_zero(self._stage_duration, self._stages)
        start_at_zero(self._failures, self._reasons)

    @contextmanager
    def measure_stage(self, stage: str) -> Iterator[None]:
        """Time a stage that succeeds."""
        started_s = time.perf_counter()
        yield
        duration_s = time.perf_counter() - started_s
        self._stage_duration.labels(self._stages.label(stage)).observe(duration_s, exemplar=trace_exemplar())

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
