"""A process has the cores that it is bound to, within its container's share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainmets.runtime.cores import count_cores

BOUND = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("10000 100000", 1),
        ("150000 100000", min(2, BOUND)),
        ("6400000 100000", BOUND),
        ("max 100000", BOUND),
    ],
)
def test_a_containers_share_counts(tmp_path: Path, cpu_max: str, cores: int) -> None:
    """In whole cores, and never more than there are."""
    (tmp_path / "cpu.max").write_text(f"{cpu_max}\n")
    assert count_cores(tmp_path) == cores


def test_without_a_control_group_all_bound_cores_count(tmp_path: Path) -> None:
    """Of version 1, or outside of Linux's containers."""
    assert count_cores(tmp_path) == BOUND


def test_a_process_bound_to_one_core_has_one() -> None:
    """However many its node has; preprocessing then starts one decoder."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from brainmets.runtime.settings import PreprocessingSettings as Settings;"
        "print(Settings(artifact_url='file:///a').decoders)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(answer.stdout) == 1
