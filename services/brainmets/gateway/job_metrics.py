"""Owns what a process tells of all jobs: the same from whichever process is asked, because Redis says it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from brainmets.gateway.job_ledger import JobEnd, JobLedger, Turnarounds
from brainmets.gateway.jobs import FailureReason, JobState, QueueDepth
from brainmets.runtime.metric_contract import (
    ERASURE_OLDEST_OVERDUE,
    JOB_TURNAROUND,
    JOBS_ACCEPTED,
    JOBS_ENDED,
    JOBS_OUTSTANDING,
    JOBS_OVERDUE,
    JOBS_QUEUED,
    JOBS_RUNNING,
    QUEUE_OLDEST_AGE,
    TURNAROUND_BUCKETS_S,
    UPLOADS_OPEN,
)

_PHASES = (JobState.QUEUED, JobState.RUNNING)
# What can happen, so that the first of each kind is a step from 0; what else a newer version counts is told as well.
_ENDS = (
    JobEnd(JobState.SUCCEEDED, "none", JobState.RUNNING),
    *(JobEnd(JobState.CANCELLED, "none", phase) for phase in _PHASES),
    *(JobEnd(JobState.FAILED, reason, phase) for reason in FailureReason for phase in _PHASES),
)
_FINAL_STATES = tuple(state for state in JobState if state.is_final)


class JobMetrics(Collector):
    """Tells how much work there is, and what has become of all jobs.

    All of it comes from Redis and outlives the process. Until it was read, and while Redis does not answer, nothing is
    told: a counter's 0 would be a reset, and the largest of what several processes tell would be the oldest.
    """

    def __init__(self, registry: CollectorRegistry, *, service: str) -> None:
        self._service = service
        self._known: tuple[QueueDepth, JobLedger] | None = None
        registry.register(self)

    def note(self, depth: QueueDepth, ledger: JobLedger) -> None:
        """Tell what Redis says now."""
        self._known = depth, ledger

    def forget(self) -> None:
        """Tell nothing until Redis was read again."""
        self._known = None

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the queue and the counters of the ledger."""
        if self._known is None:
            return
        depth, ledger = self._known
        for gauge, value in (
            (JOBS_QUEUED, depth.queued),
            (JOBS_RUNNING, depth.running),
            (JOBS_OUTSTANDING, depth.queued + depth.running),
            (JOBS_OVERDUE, depth.overdue),
            (QUEUE_OLDEST_AGE, depth.oldest_age_s),
            (ERASURE_OLDEST_OVERDUE, depth.erasure_overdue_s),
            (UPLOADS_OPEN, depth.uploads_open),
        ):
            yield GaugeMetricFamily(gauge.family(self._service), gauge.text, value)
        yield CounterMetricFamily(JOBS_ACCEPTED.family(self._service), JOBS_ACCEPTED.text, ledger.accepted)
        ended = CounterMetricFamily(JOBS_ENDED.family(self._service), JOBS_ENDED.text, labels=JOBS_ENDED.labels)
        for end in dict.fromkeys((*_ENDS, *(end for end in ledger.ended if _is_known(end)))):
            ended.add_metric(end, ledger.ended.get(end, 0))
        yield ended
        turnaround = HistogramMetricFamily(
            JOB_TURNAROUND.family(self._service), JOB_TURNAROUND.text, labels=JOB_TURNAROUND.labels
        )
        for state in _FINAL_STATES:
            turnarounds = ledger.turnarounds.get(state, Turnarounds())
            turnaround.add_metric((state,), _buckets(turnarounds), turnarounds.total_s)
        yield turnaround


def _is_known(end: JobEnd) -> bool:
    return end.state in _FINAL_STATES and end.phase in _PHASES and end.reason in (*FailureReason, "none")


def _buckets(turnarounds: Turnarounds) -> list[tuple[str, float]]:
    """Return how many times lie below each bound of the contract, whatever bounds they were counted with."""
    counts = turnarounds.counts.items()
    below = [sum(count for bound_ms, count in counts if bound_ms <= bound_s * 1000) for bound_s in TURNAROUND_BUCKETS_S]
    names = (*map(str, TURNAROUND_BUCKETS_S), "+Inf")
    return list(zip(names, (*below, sum(turnarounds.counts.values())), strict=True))
