"""What is wrong with a call of the embedded stack is told before anything is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from free_addresses import free_ports
from local import __main__ as command
from local import ports
from local.engine_kind import VARIABLE, EngineKind
from local.errors import StackError
from local.layout import ROOT
from local.stack import Stack


def test_an_unknown_engine_is_told_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line; Triton would say it after seconds, under a wall of its settings."""
    monkeypatch.setenv(ports.VARIABLE, str(free_ports().api))
    monkeypatch.setenv(VARIABLE, "abacus")
    monkeypatch.setattr(Stack, "find", lambda: None)
    monkeypatch.setattr(Stack, "start", lambda *_, **__: pytest.fail("a stack was started"))
    with pytest.raises(StackError) as caught:
        command.up()
    assert str(caught.value) == f"BRAINMETS_ENGINE: expected one of {', '.join(EngineKind)}, got abacus."


def test_a_start_loads_no_engine() -> None:
    """It takes a second, for which nobody shall wait."""
    words = "import sys, local.__main__; print(*sorted({'onnxruntime', 'openvino', 'numpy'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("deploy", "services"))}
    loaded = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_a_study_that_is_not_there_is_told_with_all_that_could_be(tmp_path: Path) -> None:
    """As the command line takes it: NIfTI, DICOM, a folder, an archive."""
    with pytest.raises(StackError, match=r"nowhere; expected .*NIfTI.*DICOM.*folder.*zip"):
        command.run(tmp_path / "nowhere", tmp_path)
