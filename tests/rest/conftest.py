"""A whole gateway with the REST backend in front of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from gateway_bench import GatewayBench, running_gateway
from rest_bench import running_backend


@pytest.fixture
async def idle(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway without a worker: a job waits until it is cancelled."""
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running:
            yield running


@pytest.fixture
async def bench(idle: GatewayBench) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    async with idle.working():
        yield idle


@pytest.fixture
async def http(idle: GatewayBench) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the backend in front of it."""
    async with running_backend(idle.address) as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary folders are made."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder
