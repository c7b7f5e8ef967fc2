"""How calls are repeated, and when they are not."""

import asyncio
import time

import pytest

import brainmets.gateway.deadline
from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.imaging.errors import DeadlineExceededError, DependencyUnavailableError, InternalError


class Flaky:
    """Fails a number of times with an error, then answers how often it was called."""

    def __init__(self, failures: int, kind: type[DependencyUnavailableError | InternalError]) -> None:
        self.failures = failures
        self.kind = kind
        self.calls = 0

    async def __call__(self) -> int:
        """Fail or answer."""
        self.calls += 1
        if self.calls <= self.failures:
            raise self.kind("Not now", expected="an answer", got="none", remedy="retry")
        return self.calls


async def test_unavailable_is_repeated() -> None:
    """A dependency that comes back is used."""
    assert await retry_while_unavailable(Flaky(1, DependencyUnavailableError), Deadline.after(60)) == 2


async def test_unavailable_until_deadline_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last error is told, and no later than the deadline."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(brainmets.gateway.deadline, name, 0.1)
    flaky = Flaky(100, DependencyUnavailableError)
    with pytest.raises(DependencyUnavailableError):
        await retry_while_unavailable(flaky, Deadline.after(0.5))
    assert flaky.calls < 100


async def test_other_errors_are_not_repeated() -> None:
    """What repeating cannot mend is told at once."""
    flaky = Flaky(1, InternalError)
    with pytest.raises(InternalError):
        await retry_while_unavailable(flaky, Deadline.after(5))
    assert flaky.calls == 1


async def test_nothing_is_called_after_the_deadline() -> None:
    """A deadline that has passed ends the study before another call."""
    flaky = Flaky(0, InternalError)
    with pytest.raises(DeadlineExceededError):
        await retry_while_unavailable(flaky, Deadline.after(0))
    assert flaky.calls == 0


async def test_what_was_waited_for_is_told_although_the_pause_was_too_long() -> None:
    """A process that sleeps beyond the deadline does not call again with no time left."""
    flaky = Flaky(100, DependencyUnavailableError)
    asyncio.get_running_loop().call_later(0.1, time.sleep, 1.0)
    with pytest.raises(DependencyUnavailableError):
        await retry_while_unavailable(flaky, Deadline.after(0.5))
    assert flaky.calls == 1
