"""Spans go to a collector when one is named, say nothing that an exception quotes, and cost nothing without one."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import BrainmetsError, MalformedFileError
from brainmets.runtime.metrics import PreprocessingMetrics, RpcMetrics, WorkerMetrics
from brainmets.runtime.tracing import (
    SpanKind,
    annotate_span,
    current_traceparent,
    export_traces,
    is_tracing,
    record_span,
    span,
    trace_headers,
)
from metric_pages import pointing
from otlp_collector import Collector

QUOTED = "a patient's name"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REMOTE = f"00-{TRACE_ID}-{SPAN_ID}-01"
EXPORT_TIMEOUT = "brainmets.runtime.otlp_tracer.EXPORT_TIMEOUT_S"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector on a busy machine is waited for."""
    monkeypatch.setattr(EXPORT_TIMEOUT, 60.0)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that serves."""
    started = Collector()
    with started.serve():
        yield started


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("preprocessing.app", ("opentelemetry",)),
        # redis-py loads the part for metrics by itself, where it is installed.
        ("gateway.api", ("opentelemetry.sdk.trace", "opentelemetry.exporter")),
        ("gateway.crew", ("opentelemetry.sdk.trace", "opentelemetry.exporter")),
    ],
)
def test_a_process_that_traces_nothing_loads_nothing_for_it(module: str, unwanted: tuple[str, ...]) -> None:
    """Neither the SDK nor its interface."""
    code = f"import sys, brainmets.{module}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = answer.stdout.split()
    assert "brainmets.runtime.tracing" in loaded
    assert not [name for name in loaded if name.startswith(unwanted)]


def test_without_a_collector_there_are_no_spans() -> None:
    """And nothing is sent along with calls."""
    with export_traces("worker", None), span("attempt", parent=REMOTE, job_id="a"):
        record_span("writing", duration_s=1.0)
        annotate_span(job_id="a")
        assert not is_tracing()
        assert current_traceparent() == ""
        assert trace_headers() == {}


def test_spans_continue_the_trace_that_they_are_given(collector: Collector) -> None:
    """And nest as their blocks do; a step that was no block belongs to the block around it."""
    with export_traces("worker", collector.endpoint), span("attempt", parent=REMOTE):
        annotate_span(job_id="a")
        with span("infer", kind=SpanKind.CLIENT, model_name="b", size_bytes=3):
            inner = current_traceparent()
        record_span("writing", duration_s=1.0)
    spans = {found.name: found for found in collector.spans()}
    assert {found.trace_id for found in spans.values()} == {TRACE_ID}
    assert {found.service for found in spans.values()} == {"brainmets-worker"}
    assert spans["attempt"].parent_id == SPAN_ID
    assert spans["infer"].parent_id == spans["writing"].parent_id == spans["attempt"].span_id
    assert inner == f"00-{TRACE_ID}-{spans['infer'].span_id}-01"
    assert spans["attempt"].attributes == {"brainmets.job_id": "a"}
    assert spans["infer"].attributes == {"brainmets.model_name": "b", "brainmets.size_bytes": "3"}


def test_durations_point_to_their_trace(collector: Collector) -> None:
    """Where a histogram shows a slow one, its trace is a click away; untraced ones point nowhere."""
    registry = CollectorRegistry()
    worker = WorkerMetrics(registry, stages=("writing", "measuring"), reasons=(), models=("a", "b"))
    preprocessing = PreprocessingMetrics(registry)
    calls = RpcMetrics(registry, service="worker", methods=("PrepareStudy", "ModelInfer"))

    def record(stage: str, model: str, step: str, method: str) -> None:
        worker.note_stage(stage, duration_s=1.0)
        worker.note_tile(model, duration_s=1.0)
        with preprocessing.measure_stage(step), calls.measure(method):
            pass

    record("measuring", "b", "fetch", "PrepareStudy")
    with export_traces("worker", collector.endpoint), span("attempt", parent=REMOTE):
        record("writing", "a", "decode", "ModelInfer")
    assert pointing(registry, TRACE_ID) == {
        "brainmets_worker_stage_duration_seconds writing",
        "brainmets_worker_tile_duration_seconds a",
        "brainmets_preprocessing_stage_duration_seconds decode",
        "brainmets_worker_rpc_duration_seconds ModelInfer",
    }


def test_a_duration_points_to_no_trace_that_is_not_kept(collector: Collector) -> None:
    """Sampling leaves most of a busy service's out."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, stages=("writing",), reasons=(), models=())
    with export_traces("worker", collector.endpoint), span("attempt", parent=f"{REMOTE[:-2]}00"):
        assert current_traceparent().startswith(f"00-{TRACE_ID}")
        metrics.note_stage("writing", duration_s=1.0)
    assert pointing(registry, TRACE_ID) == set()


@pytest.mark.parametrize("parent", ["", "nonsense", f"00-{'0' * 32}-{SPAN_ID}-01", f"{REMOTE}-{QUOTED}"])
def test_what_is_no_traceparent_begins_a_trace(collector: Collector, parent: str) -> None:
    """It comes from a client, who may send anything."""
    with export_traces("gateway", collector.endpoint), span("call", parent=parent):
        pass
    (found,) = collector.spans()
    assert found.parent_id == ""
    assert QUOTED.encode() not in collector.everything()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError(QUOTED), "ZeroDivisionError"),
        (MalformedFileError(QUOTED, expected=QUOTED, got=QUOTED, remedy=QUOTED), MalformedFileError.reason),
    ],
)
def test_an_error_is_told_by_its_kind_alone(collector: Collector, error: BrainmetsError, kind: str) -> None:
    """Its words may quote the input."""
    with export_traces("gateway", collector.endpoint), pytest.raises(type(error)), span("call"):
        raise error
    (found,) = collector.spans()
    assert found.attributes == {"error.type": kind}
    assert QUOTED.encode() not in collector.everything()


def test_a_collector_that_is_not_there_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stops gives its last spans up."""
    monkeypatch.setattr(EXPORT_TIMEOUT, 0.5)
    began_s = time.monotonic()
    with export_traces("gateway", "http://127.0.0.1:1"), span("call"):
        pass
    assert time.monotonic() - began_s < 15.0
