"""Owns the worker: claims jobs, has each attempted, and records how the attempt ended."""

import asyncio
import traceback
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from brainmets.gateway.attempt import Attempts
from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.failures import failure_from_error
from brainmets.gateway.heartbeat import Heartbeat
from brainmets.gateway.inference_health import InferenceHealth
from brainmets.gateway.jobs import DEFAULT_TENANT, Claim, Completion, Failure, FailureReason
from brainmets.gateway.process import done_or_stopping
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.imaging.errors import (
    BrainmetsError,
    DependencyUnavailableError,
    JobCancelledError,
    OverloadedError,
    StaleLeaseError,
)
from brainmets.runtime.tasks import to_its_end
from brainmets.runtime.tracing import SpanKind, annotate_span, span

# Longest wait for a new job before the loop looks at its other duties.
CLAIM_BLOCK_S = 1.0
# After SIGTERM a study may still take this long before it is given back; orchestrators kill after 30 s.
SHUTDOWN_GRACE_S = 20.0
# How often what must stop is told so, until it has.
CANCEL_INTERVAL_S = 0.5
# How long an outcome is offered to a Redis that does not answer; the fence makes lateness harmless.
RECORD_TIMEOUT_S = 60.0

_log = structlog.get_logger(__name__)


class Withdrawal(Enum):
    """How an attempt ends without an outcome of its own."""

    LOST = "the job was cancelled, or is another worker's"
    RELEASED = "this process stops, and gives the job back"


Outcome = Completion | Failure | Withdrawal


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who works, and where and for how long its leases are."""

    name: str
    redis_url: str
    lease_s: float


class StudyWorker:
    """Works off some studies at a time.

    The attempts' bench lets one of them infer: meanwhile the next is prepared, and the one before is written.
    """

    def __init__(
        self,
        identity: WorkerIdentity,
        jobs: RedisJobStore,
        attempts: Attempts,
        health: InferenceHealth,
        *,
        studies_in_flight: int,
    ) -> None:
        self._identity = identity
        self._jobs = jobs
        self._attempts = attempts
        self._health = health
        self._studies_in_flight = studies_in_flight

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; studies under way are then finished, or given back after a grace time."""
        works = [asyncio.create_task(self._work(stopping)) for _ in range(self._studies_in_flight)]
        try:
            await asyncio.gather(*works)
        finally:
            # One that broke ends the others. No TaskGroup: that cancels once, and redis-py may lose it.
            for work in works:
                await _cancel(work)

    async def _work(self, stopping: asyncio.Event) -> None:
        """Work off one study after the other."""
        while not stopping.is_set():
            healthy = asyncio.create_task(self._health.wait_until_serving())
            await done_or_stopping(healthy, stopping)
            healthy.cancel()
            if stopping.is_set():
                return
            claim = await self._claim()
            if claim is not None:
                with span("attempt", kind=SpanKind.CONSUMER, parent=claim.job.traceparent, job_id=claim.job.job_id):
                    await self._work_off(claim, stopping)

    async def _claim(self) -> Claim | None:
        try:
            return await self._jobs.claim(DEFAULT_TENANT, self._identity.name, block_s=CLAIM_BLOCK_S)
        except DependencyUnavailableError as error:
            _log.warning("claim_failed", reason=error.reason, got=error.got)
            await asyncio.sleep(CLAIM_BLOCK_S)
            return None

    async def _work_off(self, claim: Claim, stopping: asyncio.Event) -> None:
        log = _log.bind(job_id=claim.job.job_id, attempt=claim.job.attempt)
        log.info("attempt_started")
        outcome = await self._attempt(claim, stopping)
        try:
            outcome = await self._record(claim, outcome)
        except BrainmetsError as error:
            # Redis is gone: the lease will run out, and another attempt will tell how it ended.
            log.warning("outcome_not_recorded", reason=error.reason)
            return
        word = self._count(outcome)
        annotate_span(attempt=claim.job.attempt, outcome=word)
        log.info("attempt_ended", outcome=word)

    def _count(self, outcome: Outcome) -> str:
        """Count how an attempt ended, and return it in a word."""
        metrics = self._attempts.metrics
        if isinstance(outcome, Failure):
            metrics.note_attempt("failed")
            metrics.note_failure(outcome.reason)
            return outcome.reason
        words = {Withdrawal.LOST: "cancelled", Withdrawal.RELEASED: "released"}
        word = words[outcome] if isinstance(outcome, Withdrawal) else "succeeded"
        metrics.note_attempt(word)
        return word

    async def _attempt(self, claim: Claim, stopping: asyncio.Event) -> Outcome:
        attempt = asyncio.create_task(_outcome_of(self._attempts, claim))
        loop = asyncio.get_running_loop()

        def abandon(error: BrainmetsError) -> None:
            loop.call_soon_threadsafe(attempt.cancel, error.reason)

        # Ends before the outcome is recorded: recording ends the job, which the heartbeat would take for a loss.
        with Heartbeat(self._identity.redis_url, claim, lease_s=self._identity.lease_s, on_lost=abandon):
            try:
                await done_or_stopping(attempt, stopping)
                if not attempt.done():
                    await asyncio.wait({attempt}, timeout=SHUTDOWN_GRACE_S)
                is_released = not attempt.done()
            finally:
                # Also when this is cancelled again meanwhile.
                await to_its_end(_cancel(attempt))
            if is_released:
                return Withdrawal.RELEASED
            return Withdrawal.LOST if attempt.cancelled() else attempt.result()

    async def _record(self, claim: Claim, outcome: Outcome) -> Outcome:
        """Record how an attempt ended, and return what was recorded.

        Raises:
            DependencyUnavailableError: Redis stayed unavailable.
            OverloadedError: It stayed overloaded.
        """
        try:
            await self._offer(claim, outcome)
        except (DependencyUnavailableError, OverloadedError):
            raise
        except (JobCancelledError, StaleLeaseError):
            return Withdrawal.LOST
        except BrainmetsError as error:
            # What cannot be kept now cannot be kept after another attempt either.
            if not isinstance(outcome, Completion):
                raise
            return await self._record(claim, _failure_of(error, claim))
        return outcome

    async def _offer(self, claim: Claim, outcome: Outcome) -> None:
        deadline = Deadline.after(RECORD_TIMEOUT_S)
        if isinstance(outcome, Completion):
            await retry_while_unavailable(lambda: self._jobs.complete(claim, outcome), deadline)
        elif isinstance(outcome, Failure):
            await retry_while_unavailable(lambda: self._jobs.fail(claim, outcome), deadline)
        elif outcome is Withdrawal.RELEASED:
            await self._jobs.release(claim)


async def _cancel(task: asyncio.Task[Any]) -> None:  # Any: its answer is not looked at
    # Before Python 3.12 asyncio.wait_for, which redis-py uses, may lose a cancellation that comes with its answer.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_INTERVAL_S)


async def _outcome_of(attempts: Attempts, claim: Claim) -> Outcome:
    try:
        return await attempts.segment(claim)
    except (JobCancelledError, StaleLeaseError):
        return Withdrawal.LOST
    except Exception as error:  # noqa: BLE001 -- whatever it is, the job must end with a reason and the loop go on
        return _failure_of(error, claim)


def _failure_of(error: Exception, claim: Claim) -> Failure:
    """Return why a job fails, and log what is a defect, or a model's whose contract is not ours."""
    failure = failure_from_error(error)
    if failure.reason is FailureReason.INTERNAL:
        # Where, but not the message: it may quote the input.
        where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        _log.error("attempt_broke", job_id=claim.job.job_id, kind=type(error).__name__, where=where)
    return failure
