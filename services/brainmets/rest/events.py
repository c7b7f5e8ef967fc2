"""Owns a job's changes as server-sent events, which end with the job, or when the backend does."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi import HTTPException, Request
from fastapi.sse import ServerSentEvent

from brainmets.client import AsyncClient, Job, ServiceError
from brainmets.rest.problems import problem_of
from brainmets.rest.records import JobRecord

# Each holds a call to the service, which takes 512 at a time on the one connection of all requests.
MAX_STREAMS = 100
_RETRY_AFTER_S = 10


async def hold_stream(request: Request) -> AsyncIterator[None]:
    """Count a stream of events until it has ended.

    Raises:
        HTTPException: There are as many as there may be.
    """
    streams: asyncio.Semaphore = request.app.state.streams
    if streams.locked():
        raise HTTPException(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"expected at most {MAX_STREAMS} open event streams, got one more; come back, or ask for the job itself",
            headers={"Retry-After": str(_RETRY_AFTER_S)},
        )
    async with streams:
        yield


async def job_events(client: AsyncClient, job_id: str, stopping: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
    """Tell each change of a job as an event `job`; an event `problem` tells why it cannot be watched on."""
    try:
        async for job in _until(stopping, client.watch(job_id)):
            yield ServerSentEvent(event="job", data=JobRecord.of(job))
    except ServiceError as error:
        yield ServerSentEvent(event="problem", data=problem_of(error))


async def _until(stopping: asyncio.Event, jobs: AsyncIterator[Job]) -> AsyncIterator[Job]:
    """Pass jobs on; a server that stops would else wait for a job that may take minutes."""
    stopped = asyncio.ensure_future(stopping.wait())
    following = asyncio.ensure_future(anext(jobs, None))
    try:
        while True:
            await asyncio.wait({stopped, following}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done() or (job := following.result()) is None:
                return
            yield job
            following = asyncio.ensure_future(anext(jobs, None))
    finally:
        stopped.cancel()
        following.cancel()
