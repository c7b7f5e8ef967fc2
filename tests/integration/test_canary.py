"""The shipped networks find the phantom's lesion, on either side, as large as it is."""

import json
import os
import subprocess
import sys

import pytest

from brainmets.client.endings import CanaryCode
from integration.running_stack import RunningStack
from local.layout import SERVICES


def sing(stack: RunningStack, *words: str) -> tuple[int, dict[str, object]]:
    """Run the command as a CronJob does; return its exit code and what it says."""
    command = [sys.executable, "-m", "brainmets.client", "canary", "--address", stack.place.api_address, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(SERVICES)}
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("seed", range(4))
def test_the_canary_sings(stack: RunningStack, seed: int) -> None:
    """Whatever noise was drawn."""
    code, report = sing(stack, "--seed", str(seed))
    assert (code, report["faults"]) == (CanaryCode.RIGHT, [])
    assert report["side"] == ("right" if seed % 2 else "left")


def test_a_canary_is_never_answered_from_the_cache(stack: RunningStack) -> None:
    """Each run draws another phantom."""
    (first, one), (second, other) = sing(stack), sing(stack)
    assert (first, second) == (CanaryCode.RIGHT, CanaryCode.RIGHT)
    assert one["seed"] != other["seed"]
