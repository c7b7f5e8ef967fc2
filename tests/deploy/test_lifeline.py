"""A tied process ends with the one that started it, whatever killed that."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from brainmets.serving.program import Program
from local.layout import ROOT
from local.lifeline import tie
from orphans import has_ended

# A parent that starts a tied program and says which process it became.
PARENT = """
import os, subprocess, sys, time
from brainmets.serving.program import Program
from local.lifeline import tie
program = tie(Program(sys.argv[1], (sys.executable, "-c", sys.argv[2]), os.environ))
with subprocess.Popen(program.words, env=program.environment, start_new_session=True) as child:
    time.sleep(60)
"""
# What it does when it is told to end; it says when it can be.
CHILD = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(os.environ["ORDERLY"]).touch(), sys.exit()))
print(os.getpid(), flush=True)
time.sleep(60)
"""
AT_ONCE_S = 20.0


@pytest.mark.parametrize(("name", "in_order"), [("redis", True), ("triton", True), ("api", False)])
def test_a_killed_parents_child_ends(name: str, tmp_path: Path, *, in_order: bool) -> None:
    """In order if it would leave something behind otherwise."""
    orderly = tmp_path / "orderly"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'deploy'}:{ROOT / 'services'}", "ORDERLY": str(orderly)}
    words = (sys.executable, "-c", PARENT, name, CHILD)
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        give_up_s = time.monotonic() + AT_ONCE_S
        while not has_ended(child):
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
    finally:
        if not has_ended(child):
            child.kill()
    assert orderly.exists() == in_order


def test_an_orphan_does_not_begin() -> None:
    """Its parent died while it was started, and nobody would ever end it."""
    program = tie(Program("api", ("echo", "begun"), os.environ))
    # The shell between them, which does not become the last of its commands, is another parent than the one meant.
    orphaned = subprocess.run(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", *program.words], capture_output=True, check=False
    )
    assert orphaned.returncode == 1
    assert orphaned.stdout == b""
    assert subprocess.run(program.words, capture_output=True, check=True).stdout == b"begun\n"
