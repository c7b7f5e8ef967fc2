"""A whole gateway with the REST backend in front of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway_bench import GatewayBench
from gateway_fixtures import bench, idle
from rest_bench import running_backend

__all__ = ["bench", "idle"]


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
