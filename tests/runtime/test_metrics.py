"""The metrics contract: these names, these labels, and no others."""

import asyncio
import re

import grpc
import pytest
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import BrainmetsError, MalformedFileError
from brainmets.runtime.metrics import (
    OTHER,
    REASONS,
    ApiMetrics,
    PreprocessingMetrics,
    QueueMetrics,
    RpcMetrics,
    WorkerMetrics,
)

STAGES = ("preparing", "inferring", "measuring", "writing")
FAILURES = ("INVALID_STUDY", "INTERNAL")
MODELS = ("nested_unet", "attention_unet")

# Dashboards and alerts are written against these; a change here is a change there.
CONTRACT = {
    "brainmets_gateway_rpcs_total": {"method", "code"},
    "brainmets_gateway_rpc_duration_seconds": {"method"},
    "brainmets_gateway_rpcs_active": {"method"},
    "brainmets_gateway_received_bytes_total": set(),
    "brainmets_gateway_sent_bytes_total": set(),
    "brainmets_gateway_jobs_queued": set(),
    "brainmets_gateway_jobs_running": set(),
    "brainmets_gateway_jobs_outstanding": set(),
    "brainmets_gateway_queue_oldest_age_seconds": set(),
    "brainmets_worker_rpcs_total": {"method", "code"},
    "brainmets_worker_rpc_duration_seconds": {"method"},
    "brainmets_worker_rpcs_active": {"method"},
    "brainmets_worker_jobs_queued": set(),
    "brainmets_worker_jobs_running": set(),
    "brainmets_worker_jobs_outstanding": set(),
    "brainmets_worker_queue_oldest_age_seconds": set(),
    "brainmets_worker_attempts_total": {"outcome"},
    "brainmets_worker_failures_total": {"reason"},
    "brainmets_worker_stage_duration_seconds": {"stage"},
    "brainmets_worker_cache_hits_total": set(),
    "brainmets_worker_study_lesions": set(),
    "brainmets_worker_written_bytes_total": set(),
    "brainmets_worker_received_bytes_total": set(),
    "brainmets_worker_tiles_total": {"model"},
    "brainmets_worker_tile_duration_seconds": {"model"},
    "brainmets_worker_inference_healthy": set(),
    "brainmets_preprocessing_rpcs_total": {"method", "code"},
    "brainmets_preprocessing_rpc_duration_seconds": {"method"},
    "brainmets_preprocessing_rpcs_active": {"method"},
    "brainmets_preprocessing_stage_duration_seconds": {"stage"},
    "brainmets_preprocessing_decoders_discarded_total": set(),
    "brainmets_preprocessing_failures_total": {"reason"},
    "brainmets_preprocessing_studies_active": set(),
    "brainmets_preprocessing_tiles_total": set(),
    "brainmets_preprocessing_read_bytes_total": set(),
    "brainmets_preprocessing_sent_bytes_total": set(),
}


@pytest.fixture
def registry() -> CollectorRegistry:
    """Everything that any process declares, in one registry."""
    registry = CollectorRegistry()
    for service in ("gateway", "worker", "preprocessing"):
        RpcMetrics(registry, service=service, methods=("GetJob",))
    for service in ("gateway", "worker"):
        QueueMetrics(registry, service=service)
    ApiMetrics(registry)
    WorkerMetrics(registry, stages=STAGES, reasons=FAILURES, models=MODELS)
    PreprocessingMetrics(registry)
    return registry


def declared(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return each metric's name, as a query spells it, and its labels."""
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        found[name] = labels
    return found


def test_the_contract_is_what_is_declared(registry: CollectorRegistry) -> None:
    """No metric and no label is missing, renamed or new without this list."""
    assert declared(registry) == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
def test_names_follow_the_rule(name: str) -> None:
    """A name says whose metric it is, of what, and in which base unit."""
    assert re.fullmatch(r"brainmets_(gateway|worker|preprocessing)_[a-z_]+", name)
    assert not re.search(r"_(ms|milliseconds|kb|mb|percent|minutes)\b", name)


def test_every_metric_is_explained(registry: CollectorRegistry) -> None:
    """A help text is a sentence."""
    assert all(family.documentation.endswith(".") for family in registry.collect())


def test_series_exist_before_their_first_event(registry: CollectorRegistry) -> None:
    """The first failure is a step from 0, which rate() sees."""
    for reason in FAILURES:
        assert registry.get_sample_value("brainmets_worker_failures_total", {"reason": reason}) == 0
    for reason in REASONS:
        assert registry.get_sample_value("brainmets_preprocessing_failures_total", {"reason": reason}) == 0


def test_a_label_outside_its_set_is_other() -> None:
    """What a client or a model repository says adds no series."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, stages=STAGES, reasons=FAILURES, models=MODELS)
    metrics.note_tile("somebody's network", duration_s=0.1)
    assert registry.get_sample_value("brainmets_worker_tiles_total", {"model": OTHER}) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MalformedFileError("m", expected="e", got="g", remedy="r"), grpc.StatusCode.INVALID_ARGUMENT),
        (asyncio.CancelledError(), grpc.StatusCode.CANCELLED),
        (ZeroDivisionError(), grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_call_is_counted_by_what_it_raised(error: BaseException, code: grpc.StatusCode) -> None:
    """Calls that a process makes are counted by the same codes as those it answers."""
    registry = CollectorRegistry()
    metrics = RpcMetrics(registry, service="worker", methods=("ModelInfer",))
    with pytest.raises(type(error)), metrics.measure("ModelInfer"):
        raise error
    labels = {"method": "ModelInfer", "code": code.name}
    assert registry.get_sample_value("brainmets_worker_rpcs_total", labels) == 1
    duration = "brainmets_worker_rpc_duration_seconds_count"
    assert registry.get_sample_value(duration, {"method": "ModelInfer"}) == 1


def test_a_call_under_way_is_seen() -> None:
    """A stuck call shows, although it has not ended."""
    registry = CollectorRegistry()
    metrics = RpcMetrics(registry, service="worker", methods=("ModelInfer",))
    with metrics.measure("ModelInfer"):
        assert registry.get_sample_value("brainmets_worker_rpcs_active", {"method": "ModelInfer"}) == 1
    assert registry.get_sample_value("brainmets_worker_rpcs_active", {"method": "ModelInfer"}) == 0


def test_outstanding_is_queued_and_running() -> None:
    """Workers are scaled on one number."""
    registry = CollectorRegistry()
    QueueMetrics(registry, service="gateway").note(queued=3, running=2, oldest_age_s=4.5)
    assert registry.get_sample_value("brainmets_gateway_jobs_outstanding") == 5
    assert registry.get_sample_value("brainmets_gateway_queue_oldest_age_seconds") == 4.5


def test_a_failed_study_is_counted_by_its_reason() -> None:
    """The class of the error decides, as it does over gRPC."""
    registry = CollectorRegistry()
    metrics = PreprocessingMetrics(registry)
    with pytest.raises(BrainmetsError), metrics.measure_study():
        raise MalformedFileError("m", expected="e", got="g", remedy="r")
    labels = {"reason": MalformedFileError.reason}
    assert registry.get_sample_value("brainmets_preprocessing_failures_total", labels) == 1
