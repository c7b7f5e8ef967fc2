"""What Redis says of jobs is told as Prometheus wants it."""

import pytest
from prometheus_client import CollectorRegistry

from brainmets.gateway.job_ledger import JobEnd, JobLedger, Turnarounds
from brainmets.gateway.job_metrics import JobMetrics
from brainmets.gateway.jobs import FailureReason, QueueDepth

IDLE = QueueDepth(queued=0, running=0, oldest_age_s=0.0)
INFINITE = float("inf")


@pytest.fixture
def registry() -> CollectorRegistry:
    """An empty registry."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> JobMetrics:
    """The gateway's."""
    return JobMetrics(registry, service="gateway")


def test_counters_are_not_told_before_they_were_read(registry: CollectorRegistry, metrics: JobMetrics) -> None:
    """Prometheus would take 0 for a reset, and count everything twice."""
    assert registry.get_sample_value("brainmets_gateway_jobs_accepted_total") is None
    metrics.note(IDLE, JobLedger(accepted=3))
    assert registry.get_sample_value("brainmets_gateway_jobs_accepted_total") == 3


def test_nothing_is_told_while_redis_does_not_answer(registry: CollectorRegistry, metrics: JobMetrics) -> None:
    """Rules take the largest of what several processes tell, and would believe what was so before, for ever."""
    metrics.note(QueueDepth(queued=3, running=2, oldest_age_s=4.5), JobLedger(accepted=3))
    metrics.forget()
    assert list(registry.collect()) == []
    metrics.note(IDLE, JobLedger(accepted=3))
    assert registry.get_sample_value("brainmets_gateway_jobs_queued") == 0


@pytest.mark.parametrize("reason", FailureReason)
@pytest.mark.parametrize("phase", ["queued", "running"])
def test_each_end_is_told_before_it_happens(
    registry: CollectorRegistry, metrics: JobMetrics, reason: str, phase: str
) -> None:
    """So that the first one is a step from 0."""
    metrics.note(IDLE, JobLedger())
    labels = {"state": "failed", "reason": reason, "phase": phase}
    assert registry.get_sample_value("brainmets_gateway_jobs_ended_total", labels) == 0


def test_an_end_is_told_by_state_reason_and_phase(registry: CollectorRegistry, metrics: JobMetrics) -> None:
    """As Redis counted it."""
    end = JobEnd("failed", "attempts_exhausted", "running")
    metrics.note(IDLE, JobLedger(ended={end: 2}))
    assert registry.get_sample_value("brainmets_gateway_jobs_ended_total", end._asdict()) == 2


def test_an_unknown_end_adds_no_series(registry: CollectorRegistry, metrics: JobMetrics) -> None:
    """Labels stay closed sets, whatever stands in Redis."""
    end = JobEnd("failed", "a patient's name", "running")
    metrics.note(IDLE, JobLedger(ended={end: 2}))
    assert registry.get_sample_value("brainmets_gateway_jobs_ended_total", end._asdict()) is None


@pytest.mark.parametrize(("le", "count"), [("1.0", 0), ("2.0", 2), ("300.0", 2), ("1800.0", 3), ("+Inf", 4)])
def test_turnarounds_add_up_below_each_bound(
    registry: CollectorRegistry, metrics: JobMetrics, le: str, count: int
) -> None:
    """Also those that an earlier version counted at a bound of its own (1.7 s and 400 s here)."""
    counts = {1700.0: 1, 2000.0: 1, 400_000.0: 1, INFINITE: 1}
    metrics.note(IDLE, JobLedger(turnarounds={"succeeded": Turnarounds(counts, 5000.0)}))
    labels = {"state": "succeeded", "le": le}
    assert registry.get_sample_value("brainmets_gateway_job_turnaround_seconds_bucket", labels) == count
    assert registry.get_sample_value("brainmets_gateway_job_turnaround_seconds_sum", {"state": "succeeded"}) == 5000


def test_outstanding_is_queued_and_running(registry: CollectorRegistry, metrics: JobMetrics) -> None:
    """Workers are scaled on one number."""
    metrics.note(
        QueueDepth(queued=3, running=2, oldest_age_s=4.5, overdue=1, erasure_overdue_s=7.5, uploads_open=6), JobLedger()
    )
    assert registry.get_sample_value("brainmets_gateway_jobs_outstanding") == 5
    assert registry.get_sample_value("brainmets_gateway_jobs_overdue") == 1
    assert registry.get_sample_value("brainmets_gateway_queue_oldest_age_seconds") == 4.5
    assert registry.get_sample_value("brainmets_gateway_erasure_oldest_overdue_seconds") == 7.5
    assert registry.get_sample_value("brainmets_gateway_uploads_open") == 6
