"""A tied process ends with the one that started it, whatever killed that."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from brainmets.serving.lifeline import tie
from brainmets.serving.program import Program
from local.layout import ROOT
from orphans import has_ended

# A parent that runs a program and passes on what it says.
PARENT = """
import asyncio, os, sys
from brainmets.serving.program import Program
from brainmets.serving.running_programs import RunningPrograms

def tell(name, line):
    if name != "system":
        print(line, flush=True)

async def run():
    program = Program(sys.argv[1], (sys.executable, "-c", sys.argv[2]), os.environ)
    async with RunningPrograms([[program]], tell) as running:
        await running.wait()

asyncio.run(run())
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
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services"), "ORDERLY": str(orderly)}
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


def test_without_setpriv_a_program_is_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It runs, untied: macOS has none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program = Program("api", ("echo", "begun"), os.environ)
    assert tie(program) == program


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
