"""A whole gateway on loopback, and studies in a folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway_bench import GatewayBench, running_gateway, study_bytes


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    # Else the gateway's events, of this process too, would stand among what a command prints.
    with capture_logs():
        async with running_gateway(redis_url, tmp_path / "artifacts") as running, running.working():
            yield running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a T1c and a FLAIR."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "patient-t1c.nii.gz").write_bytes(study_bytes())
    (folder / "patient-t2f.nii.gz").write_bytes(study_bytes())
    (folder / "notes.txt").write_text("of no interest")
    return folder
