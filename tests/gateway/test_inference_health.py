"""Health is what a real inference says; a model whose probes go on failing is helped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog.testing

import brainmets.gateway.inference_health
from brainmets.gateway.inference_health import FAILURES_BEFORE_REVIVAL, INFERENCES_A_PROBE, InferenceHealth
from brainmets.imaging.errors import DependencyUnavailableError, InferenceFailedError
from fakes import FakeCatalogue, FakeTileInferencer

WAIT_S = 30.0
DEAD = DependencyUnavailableError("Dead", expected="an answer", got="none", remedy="restart it")


@dataclass
class Ward:
    """A health under test, the networks it probes, and what it told."""

    inferencer: FakeTileInferencer = field(default_factory=FakeTileInferencer)
    changes: list[bool] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    mends: bool = True
    health: InferenceHealth = field(init=False)

    def __post_init__(self) -> None:
        """Build the health of two models."""
        self.health = InferenceHealth(
            FakeCatalogue(),
            self.inferencer.infer,
            ("nested_unet", "attention_unet"),
            on_change=self._note,
            revive=self._revive,
        )

    async def _note(self, serving: bool) -> None:  # noqa: FBT001 -- a callback's one argument
        self.changes.append(serving)

    async def _revive(self, model_name: str) -> None:
        self.revived.append(model_name)
        if not self.mends:
            raise InferenceFailedError("No", expected="a load", got="a refusal", remedy="look at Triton's log")
        self.inferencer.error = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch while the block runs."""
        watching = asyncio.create_task(self.health.watch())
        try:
            yield
        finally:
            watching.cancel()

    async def until(self, *changes: bool) -> None:
        """Return once these changes were told."""
        async with asyncio.timeout(WAIT_S):
            while self.changes != list(changes):  # noqa: ASYNC110 -- what is waited for is a list
                await asyncio.sleep(0.01)


@pytest.fixture
def ward(monkeypatch: pytest.MonkeyPatch) -> Ward:
    """A health that does not wait for seconds between probes."""
    monkeypatch.setattr(brainmets.gateway.inference_health, "PROBE_INTERVAL_S", 0.05)
    monkeypatch.setattr(brainmets.gateway.inference_health, "RETRY_INTERVAL_S", 0.02)
    return Ward()


async def test_every_model_is_probed_before_inference_serves(ward: Ward) -> None:
    """One network alone is not enough."""
    async with ward.watching():
        await ward.health.wait_until_serving()
    assert ward.inferencer.seen[: 2 * INFERENCES_A_PROBE] == [
        *["nested_unet"] * INFERENCES_A_PROBE,
        *["attention_unet"] * INFERENCES_A_PROBE,
    ]
    assert ward.changes == [True]


async def test_a_network_of_two_processes_is_asked_twice_at_once(ward: Ward) -> None:
    """One after the other might both meet the living one."""
    ward.inferencer.delay_s = 0.01
    async with ward.watching():
        await ward.until(True)
    assert ward.inferencer.most_in_flight == INFERENCES_A_PROBE > 1


async def test_a_dead_backend_is_noticed(ward: Ward) -> None:
    """Although nobody says so but the inference itself."""
    ward.mends = False
    async with ward.watching():
        await ward.until(True)
        ward.inferencer.error = DEAD
        await ward.until(True, False)


async def test_a_dead_backend_is_revived(ward: Ward) -> None:
    """And serves again."""
    async with ward.watching():
        await ward.until(True)
        ward.inferencer.error = DEAD
        await ward.until(True, False, True)
    assert ward.revived


async def test_a_revival_is_told_before_it_is_known_to_help(ward: Ward) -> None:
    """By a word that does not say that it did."""
    ward.inferencer.error = DEAD
    with structlog.testing.capture_logs() as events:
        async with ward.watching():
            await ward.until(True)
    (event,) = [event for event in events if event["event"].startswith("model_")]
    assert (event["event"], event["model_name"]) == ("model_revival_begun", ward.revived[0])


async def test_one_failure_is_not_helped(ward: Ward) -> None:
    """A backend that is busy must not be unloaded under its work."""
    ward.inferencer.error = DEAD
    async with ward.watching():
        await ward.until(True)
    assert ward.inferencer.seen.count(ward.revived[0]) >= FAILURES_BEFORE_REVIVAL


async def test_a_model_that_cannot_be_helped_is_tried_again(ward: Ward) -> None:
    """Watching goes on, whatever Triton answers."""
    ward.mends = False
    ward.inferencer.error = DEAD
    async with ward.watching():
        async with asyncio.timeout(WAIT_S):
            while len(ward.revived) < 3:  # noqa: ASYNC110 -- what is waited for is a number
                await asyncio.sleep(0.01)
        ward.inferencer.error = None
        await ward.until(True)


async def test_a_change_is_told_once(ward: Ward) -> None:
    """Probes that say the same say nothing new."""
    async with ward.watching():
        await ward.until(True)
        await asyncio.sleep(0.3)
    assert ward.changes == [True]


async def test_who_waits_for_inference_waits_until_it_works(ward: Ward) -> None:
    """A worker claims nothing before."""
    ward.mends = False
    ward.inferencer.error = DEAD
    async with ward.watching():
        waiting = asyncio.create_task(ward.health.wait_until_serving())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        ward.inferencer.error = None
        await asyncio.wait_for(waiting, WAIT_S)
