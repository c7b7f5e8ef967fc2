"""k6 loads the real stack through the published contract, and a load that met no service is no success."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.running_stack import RunningStack
from local.layout import ROOT, SERVICES
from local.ports import HOST

pytestmark = pytest.mark.integration

# Where nothing listens.
DISCARD_PORT = 9


def load(address: str, folder: Path) -> tuple[int, dict[str, Any]]:  # Any: JSON
    """Send three studies within six seconds; return the exit code and what was measured."""
    summary = folder / "load.json"
    words = ["--address", address, "--per-minute", "30", "--duration", "6s", "--summary", str(summary)]
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "load" / "study_load.py", *words],
        env={"PYTHONPATH": str(SERVICES), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(summary.read_text())


def test_studies_come_back_right_under_a_steady_load(stack: RunningStack, tmp_path: Path) -> None:
    """Each of them within the objective, with its lesion, mask and report; none waits to be sent."""
    code, report = load(stack.place.api_address, tmp_path)
    metrics = {name: metric["values"] for name, metric in report["metrics"].items()}
    assert code == 0
    assert metrics["study_duration"]["count"] == metrics["studies_begun"]["count"] >= 3
    assert metrics["files_received"]["count"] == 2 * metrics["study_duration"]["count"]
    assert metrics["checks"]["rate"] == 1


def test_no_service_is_no_success(tmp_path: Path) -> None:
    """A threshold on what never happened would hold."""
    code, report = load(f"{HOST}:{DISCARD_PORT}", tmp_path)
    assert code == 99
    assert report["metrics"]["studies_begun"]["values"]["count"] >= 3
