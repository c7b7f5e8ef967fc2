"""Owns the fixtures of a whole gateway on loopback that the tests of its clients share; a conftest imports them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway_bench import GatewayBench, running_gateway


@pytest.fixture
async def idle(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway without a worker: a job waits until it is cancelled."""
    # Else the gateway's events, of this process too, would stand among what a command prints.
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running:
            yield running


@pytest.fixture
async def bench(idle: GatewayBench) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    async with idle.working():
        yield idle
