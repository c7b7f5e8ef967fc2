"""The synchronous client against a running gateway, from a thread of its own."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from brainmets.client import AsyncClient, Client, JobState, ServiceError, aio
from brainmets.client.conversation import Conversation
from gateway_bench import GatewayBench

Answer = TypeVar("Answer")


async def call(bench: GatewayBench, work: Callable[[Client], Answer]) -> Answer:
    """Return what some work with a client returns; the gateway runs in this thread, the client in another."""

    def run() -> Answer:
        with Client(bench.address) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_a_study_is_segmented(bench: GatewayBench, study: Path) -> None:
    """One call, and it waits."""
    segmentation = await call(bench, lambda client: client.segment(study))
    assert segmentation.job.state is JobState.SUCCEEDED
    assert len(segmentation.lesions) == 1


async def test_a_callback_that_calls_its_client_is_told(bench: GatewayBench, study: Path) -> None:
    """It would wait for itself for ever."""

    def work(client: Client) -> None:
        client.segment(study, on_progress=lambda job: client.delete(job.job_id))

    with pytest.raises(RuntimeError, match="got one from a callback"):
        async with asyncio.timeout(30):
            await call(bench, work)


async def test_a_callback_may_end_the_program(bench: GatewayBench, study: Path) -> None:
    """Its `sys.exit` reaches the caller, the job is cancelled, and the client serves on."""

    def work(client: Client) -> JobState:
        with pytest.raises(SystemExit, match="enough"):
            client.segment(study, on_progress=lambda _: sys.exit("enough"))
        return next(client.jobs()).state

    async with asyncio.timeout(30):
        assert await call(bench, work) is JobState.CANCELLED


async def test_a_client_that_was_closed_says_so(bench: GatewayBench) -> None:
    """As one in a forked process does, which has no thread either."""

    def work(client: Client) -> None:
        client.close()
        client.models()

    with pytest.raises(RuntimeError, match="after close"):
        await call(bench, work)


async def test_a_job_is_submitted_read_and_waited_for(bench: GatewayBench, study: Path) -> None:
    """The calls one by one."""

    def work(client: Client) -> bool:
        job = client.submit(study)
        assert client.job(job.job_id).job_id == job.job_id
        assert [changed.state.is_final for changed in client.watch(job.job_id)][-1]
        segmentation = client.wait(job.job_id)
        return segmentation.job.job_id == next(client.jobs()).job_id

    assert await call(bench, work)


async def test_models_are_told(bench: GatewayBench) -> None:
    """As the asynchronous client tells them."""
    assert len(await call(bench, lambda client: client.models())) == 2


async def test_an_error_reaches_the_caller(bench: GatewayBench) -> None:
    """Out of the client's own thread."""
    with pytest.raises(ServiceError):
        await call(bench, lambda client: client.job("0" * 32))


async def test_it_works_where_a_loop_already_runs(bench: GatewayBench) -> None:
    """As in a notebook; what is asked for here needs no answer of this thread's loop."""
    client = Client(bench.address)
    client.close()
    client.close()


@pytest.mark.parametrize("name", ["segment", "wait"])
async def test_a_call_under_way_ends_with_its_client(
    idle: GatewayBench, study: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever waits for it in another thread is told; the job ends with the call that began it, and no other does."""
    monkeypatch.setattr(aio, "GIVE_UP_TIMEOUT_S", 30.0)
    give_up = AsyncClient._give_up  # noqa: SLF001 -- no line can be slowed between an answer and the client's end

    async def give_up_slowly(self: AsyncClient, conversation: Conversation) -> str:
        told = await give_up(self, conversation)
        await asyncio.sleep(0.3)  # in which the service tells the call itself, too
        return told

    monkeypatch.setattr(AsyncClient, "_give_up", give_up_slowly)
    client = await asyncio.to_thread(Client, idle.address)
    subject = study if name == "segment" else (await asyncio.to_thread(client.submit, study)).job_id
    watched = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        with pytest.raises(RuntimeError, match="until its calls have ended, got close"):
            getattr(client, name)(subject, on_progress=lambda _: loop.call_soon_threadsafe(watched.set))

    waiting = asyncio.create_task(asyncio.to_thread(wait))
    await watched.wait()
    await asyncio.to_thread(client.close)
    await asyncio.wait_for(waiting, timeout=30.0)
    (job,) = await call(idle, lambda another: tuple(another.jobs()))
    assert job.state is (JobState.CANCELLED if name == "segment" else JobState.QUEUED)


@pytest.mark.parametrize("name", [name for name in vars(Client) if not name.startswith("_")])
def test_it_has_the_methods_of_the_asynchronous_one(name: str) -> None:
    """With the same parameters and defaults."""
    ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))
    assert ours == theirs


def test_it_lacks_no_method_of_the_asynchronous_one() -> None:
    """So that what is written of one is true of the other."""
    ours, theirs = ({name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient))
    assert ours == theirs
