"""The synchronous client: the asynchronous one on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from brainmets.client.aio import STUDY_TIMEOUT_S, AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from brainmets.client.aio import StudyLike
    from brainmets.client.jobs import Job
    from brainmets.client.models import Model
    from brainmets.client.options import SegmentationOptions
    from brainmets.client.results import Segmentation
    from brainmets.client.tls import Tls
    from brainmets.v1 import job_pb2

Answer = TypeVar("Answer")


class Client:
    """Calls a brainmets gateway; each method waits for its answer. Works inside notebooks and threads.

    Args:
        address: host:port of the gateway.
        tls: How the line is secured; plaintext when unset.

    Every method raises `ServiceError` with the service's code, reason and details. Callbacks run in the client's own
    thread, and cannot call it: `RuntimeError`. Every call belongs to the span that OpenTelemetry has active, where the
    caller uses it.
    """

    def __init__(self, address: str = "127.0.0.1:8500", *, tls: Tls | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="brainmets-client", daemon=True)
        self._thread.start()
        self._client = self._run(_open(address, tls))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread.

        Calls under way in other threads are cancelled and raise `RuntimeError` there; a job whose `segment` waits for
        it is cancelled first, for which the service has two seconds.
        """
        if self._loop.is_closed():
            return
        self._run(_close(self._client))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def segment(
        self,
        study: StudyLike,
        options: SegmentationOptions | None = None,
        *,
        on_progress: Callable[[Job], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
        timeout_s: float = STUDY_TIMEOUT_S,
        traceparent: str | None = None,
    ) -> Segmentation:
        """Segment one study and return its result with all artefacts; see `AsyncClient.segment`."""
        return self._run(
            self._client.segment(
                study,
                options,
                on_progress=on_progress,
                on_sent=on_sent,
                timeout_s=timeout_s,
                traceparent=traceparent,
            )
        )

    def submit(
        self,
        study: StudyLike,
        options: SegmentationOptions | None = None,
        *,
        request_id: str | None = None,
        on_sent: Callable[[int], None] | None = None,
        timeout_s: float = STUDY_TIMEOUT_S,
        traceparent: str | None = None,
    ) -> Job:
        """Upload and submit a study and return its job at once; see `AsyncClient.submit`."""
        return self._run(
            self._client.submit(
                study,
                options,
                request_id=request_id,
                on_sent=on_sent,
                timeout_s=timeout_s,
                traceparent=traceparent,
            )
        )

    def wait(self, job_id: str, *, on_progress: Callable[[Job], None] | None = None) -> Segmentation:
        """Watch a job to its end and return its result with all artefacts; see `AsyncClient.wait`."""
        return self._run(self._client.wait(job_id, on_progress=on_progress))

    def watch(self, job_id: str) -> Iterator[Job]:
        """Iterate over a job's changes: now, each time it changes, and as it ended; see `AsyncClient.watch`."""
        yield from self._each(self._client.watch(job_id))

    def job(self, job_id: str) -> Job:
        """Return one job."""
        return self._run(self._client.job(job_id))

    def jobs(self, *, page_size: int = 50) -> Iterator[Job]:
        """Iterate over all jobs, newest first, page by page."""
        yield from self._each(self._client.jobs(page_size=page_size))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended is returned as it is."""
        return self._run(self._client.cancel(job_id))

    def delete(self, job_id: str) -> None:
        """Erase a job with its input and results."""
        self._run(self._client.delete(job_id))

    def models(self) -> tuple[Model, ...]:
        """Return the networks the service uses."""
        return self._run(self._client.models())

    def model_card(self, model_name: str) -> dict[str, Any]:  # Any: what JSON holds
        """Return a network's model card; see `AsyncClient.model_card`."""
        return self._run(self._client.model_card(model_name))

    def download(self, job_id: str, kind: job_pb2.ArtifactKind.ValueType) -> tuple[str, bytes]:
        """Return the file name and bytes of one artefact, checked against its SHA-256."""
        return self._run(self._client.download(job_id, kind))

    def _each(self, jobs: AsyncIterator[Job]) -> Iterator[Job]:
        while (job := self._run(_next_or_none(jobs))) is not None:
            yield job

    def _run_loop(self) -> None:
        """Run the loop until it is stopped; a callback's `sys.exit` leaves it on the way to the caller."""
        while True:
            with suppress(SystemExit):
                return self._loop.run_forever()

    def _run(self, call: Coroutine[object, object, Answer]) -> Answer:
        # Nobody would ever answer: a callback runs in the thread that it would wait for, and no thread survives a fork.
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            call.close()
            message = (
                "expected a call from the process that made the client, before it is closed, got one from a callback, "
                "from a forked process, or after close(); make another Client for it"
            )
            raise RuntimeError(message)
        # Runs in a copy of the caller's context, so that a span that is active here is active there.
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            # Cancels the call, and with it its job, and does not wait: `close` does.
            future.cancel()
            raise
        except CancelledError:
            message = "expected the client to stay open until its calls have ended, got close() before; close it last"
            raise RuntimeError(message) from None


async def _open(address: str, tls: Tls | None) -> AsyncClient:
    """Make the client on its own loop, which grpc.aio binds to."""
    return AsyncClient(address, tls=tls)


async def _close(client: AsyncClient) -> None:
    """Cancel all calls, close the client, and see all end: a task that its loop leaves is told on the terminal."""
    # Before the service can tell a call of its cancelled job: its caller shall hear that the client was closed.
    _cancel_others()
    # It cancels the jobs of these calls itself, so that none is lost where a call is cancelled for the second time.
    await client.close()
    await asyncio.gather(*_cancel_others(), return_exceptions=True)


def _cancel_others() -> set[asyncio.Task[Any]]:  # Any: what each call answers
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    return others


async def _next_or_none(jobs: AsyncIterator[Job]) -> Job | None:
    return await anext(jobs, None)
