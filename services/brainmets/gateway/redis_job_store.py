"""Owns jobs in Redis: queue, leases, progress, results, lifetimes; each transition is a script of `lua/`."""

import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from brainmets.gateway.job_ledger import LEDGER_KEY, JobLedger, ledger_from_fields
from brainmets.gateway.jobs import (
    Claim,
    Completion,
    Erasure,
    Failure,
    Job,
    JobState,
    NewJob,
    Progress,
    QueueDepth,
)
from brainmets.gateway.page_tokens import sequence_from_token, token_from_sequence
from brainmets.gateway.redis_connection import MAX_BLOCK_S, TenantScripts, await_apart, redis_errors, tenant_key
from brainmets.gateway.redis_records import (
    LISTED_FIELDS,
    artifacts_to_json,
    compress_result,
    files_to_json,
    job_from_fields,
    pair_fields,
)
from brainmets.gateway.store_refusals import (
    check_hold,
    check_identifier,
    invalid_argument,
    submission_refused,
    unknown_job,
    upload_incomplete,
)
from brainmets.imaging.errors import UnknownJobError

# A watcher reads the job this often even when no nudge arrives, because pub/sub may lose one.
WATCH_INTERVAL_S = 1.0
# Records one sweep takes of each kind: some milliseconds of Redis's time.
SWEEP_LIMIT = 100
# Folders one look asks Redis about: two milliseconds of its time.
SEARCH_LIMIT = 1000
MAX_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class JobStoreLimits:
    """Bounds of the job store; lifetimes count from a job's final state."""

    max_queued_jobs: int = 1000
    max_attempts: int = 3
    lease_s: float = 10.0
    input_lifetime_s: float = 3600.0
    result_lifetime_s: float = 86400.0


class RedisJobStore:
    """Keeps jobs and the queue of a tenant in Redis, and gives them to workers one at a time.

    Every method may raise DependencyUnavailableError, after which it may be repeated.
    """

    def __init__(self, client: redis.asyncio.Redis, limits: JobStoreLimits) -> None:
        self._client = client
        self._scripts = TenantScripts(client)
        self._limits = limits

    # What clients ask for.

    async def submit(self, new_job: NewJob) -> Job:
        """Accept an upload as a queued job; the same request returns the job it made before.

        Raises:
            RequestIdReusedError: The request_id was used for other bytes, file numbers or options.
            UnknownUploadError: The upload has expired.
            UploadIncompleteError: A file is not complete, or was written to meanwhile.
            InvalidJobStateError: The upload was submitted under another request_id.
            OverloadedError: The queue is full.
        """
        upload = new_job.upload
        if not (upload.is_complete or upload.job_id):
            raise upload_incomplete("a file that is not complete")
        word, *rest = await self._scripts.run(
            "submit_job",
            upload.tenant,
            upload.upload_id,
            upload.revision,
            # A client may put a patient's name into its request_id, and a key is seen in many places.
            hashlib.sha256(new_job.request_id.encode()).hexdigest(),
            uuid.uuid4().hex,
            self._limits.max_queued_jobs,
            _milliseconds(new_job.deadline_s),
            _milliseconds(self._limits.lease_s),
            _milliseconds(self._limits.input_lifetime_s),
            _milliseconds(self._limits.result_lifetime_s),
            new_job.fingerprint,
            new_job.input_sha256,
            new_job.options,
            files_to_json(upload.stored_files()),
            new_job.traceparent,
        )
        if word != b"accepted":
            raise submission_refused(word, max_queued_jobs=self._limits.max_queued_jobs)
        return job_from_fields(upload.tenant, rest[0].decode(), pair_fields(rest[1]))

    async def read(self, tenant: str, job_id: str) -> Job:
        """Return a job.

        Raises:
            UnknownJobError: It does not exist, is erased, or is another tenant's.
        """
        check_identifier(job_id, unknown_job)
        fields = await self._scripts.read_hash(tenant, "job", job_id)
        if not fields:
            raise unknown_job()
        return job_from_fields(tenant, job_id, fields)

    async def list_jobs(self, tenant: str, page_size: int, *, page_token: str = "") -> tuple[tuple[Job, ...], str]:
        """Return a page of jobs, newest first and without results, and the token of the next page or "".

        Raises:
            InvalidArgumentError: `page_size` is not within 1 to 500, or `page_token` is not one of ours.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise invalid_argument("page_size", expected=f"1 to {MAX_PAGE_SIZE}", got=str(page_size))
        newest = f"({sequence_from_token(page_token)}" if page_token else "+inf"
        with redis_errors():
            # Any: redis-py's type allows for clients that decode, and for lists without scores.
            listed: Any = await self._client.zrange(
                tenant_key(tenant, "jobs"),
                newest,
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=page_size + 1,
                withscores=True,
            )
            jobs = await self._read_listed(tenant, [job_id.decode() for job_id, _ in listed[:page_size]])
        next_token = token_from_sequence(int(listed[page_size - 1][1])) if len(listed) > page_size else ""
        return jobs, next_token

    async def _read_listed(self, tenant: str, job_ids: list[str]) -> tuple[Job, ...]:
        pipeline = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hmget(tenant_key(tenant, "job", job_id), list(LISTED_FIELDS))
        names = [name.encode() for name in LISTED_FIELDS]
        jobs = []
        for job_id, values in zip(job_ids, await pipeline.execute(), strict=True):
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if fields:  # erased since it was listed
                jobs.append(job_from_fields(tenant, job_id, fields))
        return tuple(jobs)

    async def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """Yield a job now and each time it changes, and end after its final state.

        Changes in quick succession may come as one, since each yields the whole job.

        Raises:
            UnknownJobError: It does not exist or was erased meanwhile.
        """
        check_identifier(job_id, unknown_job)
        seen = -1
        async with self._client.pubsub() as nudges:
            with redis_errors():
                await nudges.subscribe(tenant_key(tenant, "changed", job_id))
            while True:
                job = await await_apart(self.read(tenant, job_id))
                if job.revision != seen:
                    seen = job.revision
                    yield job
                if job.state.is_final:
                    return
                with redis_errors():
                    await await_apart(nudges.get_message(timeout=WATCH_INTERVAL_S))

    async def is_watched(self, tenant: str, job_id: str) -> bool:
        """Return whether somebody watches a job, through this process or another."""
        with redis_errors():
            ((_, watchers),) = await self._client.pubsub_numsub(tenant_key(tenant, "changed", job_id))
        return int(watchers) > 0

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """End a job that has not ended; return it as it is then.

        Raises:
            UnknownJobError: It does not exist or is erased.
        """
        check_identifier(job_id, unknown_job)
        word, *rest = await self._scripts.run("cancel_job", tenant, job_id)
        if word == b"unknown":
            raise unknown_job()
        return job_from_fields(tenant, job_id, pair_fields(rest[0]))

    async def delete(self, tenant: str, job_id: str) -> tuple[Erasure, ...]:
        """Forget a job and its cache entry; return what to erase in the artefact store.

        The erasures also stay on the sweep's list for a while, for the caller may die before it has erased
        them and a worker may still be writing.

        Raises:
            UnknownJobError: It does not exist or is already erased.
        """
        check_identifier(job_id, unknown_job)
        word, *rest = await self._scripts.run("delete_job", tenant, job_id)
        if word == b"unknown":
            raise unknown_job()
        return _erasures(rest[0])

    # What workers do.

    async def claim(self, tenant: str, worker: str, *, block_s: float) -> Claim | None:
        """Return a lease on the next job, or None when there is none within `block_s`.

        Jobs whose lease ran out come first. A reply lost on the way costs the job one lease and one attempt.
        """
        give_up = time.monotonic() + block_s
        while True:
            word, *rest = await self._scripts.run(
                "claim_job",
                tenant,
                worker,
                _milliseconds(self._limits.lease_s),
                self._limits.max_attempts,
                uuid.uuid4().hex[:8],
            )
            if word == b"claimed":
                return _claim_from_reply(tenant, worker, rest)
            wait_s = min(give_up - time.monotonic(), MAX_BLOCK_S)
            if wait_s <= 0:
                return None
            # Reads without consuming, so that a reply lost here loses no job.
            with redis_errors():
                await self._client.xread(
                    {tenant_key(tenant, "queue"): rest[0]}, count=1, block=max(1, _milliseconds(wait_s))
                )

    async def report_progress(self, claim: Claim, progress: Progress) -> None:
        """Note how far a claimed job is.

        Raises:
            JobCancelledError: The client has cancelled or erased the job.
            StaleLeaseError: The job has gone to another worker or has ended.
        """
        await self._change_held("report_progress", claim, progress.stage, progress.tiles_done, progress.tiles_total)

    async def complete(self, claim: Claim, completion: Completion) -> Job:
        """End a claimed job as SUCCEEDED and publish its artefacts; repeating it returns the same job.

        Raises:
            JobCancelledError: As `report_progress`.
            StaleLeaseError: As `report_progress`.
        """
        rest = await self._change_held(
            "complete_job",
            claim,
            compress_result(completion.result),
            artifacts_to_json(completion.artifacts),
            completion.cache_key,
            int(completion.from_cache),
        )
        return job_from_fields(claim.job.tenant, claim.job.job_id, pair_fields(rest[0]))

    async def fail(self, claim: Claim, failure: Failure) -> Job:
        """End a claimed job as FAILED; repeating it returns the same job.

        Raises:
            JobCancelledError: As `report_progress`.
            StaleLeaseError: As `report_progress`.
        """
        rest = await self._change_held("fail_job", claim, failure.reason, failure.status)
        return job_from_fields(claim.job.tenant, claim.job.job_id, pair_fields(rest[0]))

    async def release(self, claim: Claim) -> None:
        """Give a claimed job back to be taken next, without counting the attempt.

        Raises:
            JobCancelledError: As `report_progress`.
            StaleLeaseError: As `report_progress`.
        """
        await self._change_held("release_job", claim, claim.entry_id, _milliseconds(self._limits.lease_s))

    async def _change_held(
        self, script: str, claim: Claim, *args: str | bytes | int
    ) -> list[Any]:  # Any: Redis's reply tree
        hold, *rest = await self._scripts.run(script, claim.job.tenant, claim.job.job_id, claim.fence, *args)
        check_hold(hold)
        return rest

    async def cached_result(self, tenant: str, cache_key: str) -> Job | None:
        """Return a succeeded job with this cache key, if there is one."""
        with redis_errors():
            job_id: Any = await self._client.get(tenant_key(tenant, "cache", cache_key))  # Any: as in list_jobs
        if job_id is None:
            return None
        try:
            job = await self.read(tenant, job_id.decode())
        except UnknownJobError:  # erased between the two reads
            return None
        return job if job.state is JobState.SUCCEEDED else None

    async def evict(self, tenant: str, cache_key: str) -> None:
        """Take a result out of the cache, for example because its artefacts are gone."""
        with redis_errors():
            await self._client.delete(tenant_key(tenant, "cache", cache_key))

    # What keeps the house.

    async def queue_depth(self, tenant: str) -> QueueDepth:
        """Return how much work there is."""
        queued, running, oldest_age_ms, overdue, erasure_overdue_ms, uploads_open = await self._scripts.run(
            "queue_depth", tenant, _milliseconds(self._limits.lease_s)
        )
        return QueueDepth(
            queued=queued,
            running=running,
            oldest_age_s=oldest_age_ms / 1000,
            overdue=overdue,
            erasure_overdue_s=erasure_overdue_ms / 1000,
            uploads_open=uploads_open,
        )

    async def ledger(self, tenant: str) -> JobLedger:
        """Return how many jobs were accepted, and how, why and when they ended."""
        return ledger_from_fields(await self._scripts.read_hash(tenant, LEDGER_KEY))

    async def sweep(self, tenant: str) -> None:
        """Forget what has outlived its lifetime, and fail overdue jobs; any number of processes may do so."""
        await self._scripts.run("sweep", tenant, SWEEP_LIMIT)

    async def due_erasures(self, tenant: str) -> tuple[Erasure, ...]:
        """Return what is due to be erased, again and again until somebody confirms it or puts it off."""
        reply = await self._scripts.run("due_erasures", tenant, SWEEP_LIMIT)
        return tuple(Erasure(prefix.decode(), int(due_ms)) for prefix, due_ms in pair_fields(reply).items())

    async def confirm_erased(self, tenant: str, erasure: Erasure) -> None:
        """Take a prefix that was due and that is erased now off the list."""
        await self._scripts.run("confirm_erased", tenant, erasure.prefix, erasure.due_time_ms)

    async def postpone_erasure(self, tenant: str, erasure: Erasure) -> None:
        """Put off a prefix that was due and cannot be erased now, for longer each time, ten minutes at most."""
        await self._scripts.run("postpone_erasure", tenant, erasure.prefix, erasure.due_time_ms)

    async def forget_strays(self, tenant: str, folders: tuple[str, ...]) -> int:
        """Put folders of the artefact store that are of no upload and no job on the list of erasures, and count them.

        They must have been listed before, since each has its record before its first file. They are due in an hour.
        """
        count = 0
        for first in range(0, len(folders), SEARCH_LIMIT):
            count += (await self._scripts.run("forget_strays", tenant, *folders[first : first + SEARCH_LIMIT]))[0]
        return count


def _claim_from_reply(tenant: str, worker: str, reply: list[Any]) -> Claim:  # Any: Redis's reply tree
    job_id, entry_id, fence, remaining_ms, fields = reply
    return Claim(
        job=job_from_fields(tenant, job_id.decode(), pair_fields(fields)),
        worker=worker,
        entry_id=entry_id.decode(),
        fence=fence.decode(),
        remaining_s=remaining_ms / 1000,
    )


def _erasures(reply: list[Any]) -> tuple[Erasure, ...]:  # Any: Redis's reply tree
    return tuple(Erasure(prefix.decode(), due_ms) for prefix, due_ms in reply)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
