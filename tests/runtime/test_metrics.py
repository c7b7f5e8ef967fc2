"""What processes record is counted by closed sets of labels, from 0 on."""

import asyncio

import grpc
import pytest
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import BrainmetsError, MalformedFileError
from brainmets.runtime.label_set import OTHER
from brainmets.runtime.metrics import REASONS, PreprocessingMetrics, RpcMetrics, WorkerMetrics

STAGES = ("preparing", "inferring", "measuring", "writing")
FAILURES = ("INVALID_STUDY", "INTERNAL")
MODELS = ("nested_unet", "attention_unet")


def test_series_exist_before_their_first_event() -> None:
    """The first failure is a step from 0, which rate() sees."""
    registry = CollectorRegistry()
    WorkerMetrics(registry, stages=STAGES, reasons=FAILURES, models=MODELS)
    PreprocessingMetrics(registry)
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


def test_a_failed_study_is_counted_by_its_reason() -> None:
    """The class of the error decides, as it does over gRPC."""
    registry = CollectorRegistry()
    metrics = PreprocessingMetrics(registry)
    with pytest.raises(BrainmetsError), metrics.measure_study():
        raise MalformedFileError("m", expected="e", got="g", remedy="r")
    labels = {"reason": MalformedFileError.reason}
    assert registry.get_sample_value("brainmets_preprocessing_failures_total", labels) == 1


@pytest.mark.parametrize(
    ("digest", "number"), [("0" * 63 + "1", 0), ("0" * 11 + "1" + "f" * 52, 1), ("f" * 64, 2**48 - 1)]
)
def test_a_digest_is_told_as_a_number_that_a_float_holds(digest: str, number: int) -> None:
    """Two networks under one name show, and no label of theirs grows without end."""
    registry = CollectorRegistry()
    WorkerMetrics(registry, stages=STAGES, reasons=FAILURES, models=MODELS).note_digest("nested_unet", digest)
    assert registry.get_sample_value("brainmets_worker_model_digest", {"model": "nested_unet"}) == number
