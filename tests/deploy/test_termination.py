"""Whoever ends `make run`, `bench` or `load` by SIGTERM ends the command that it runs with it."""

import os
import signal
import subprocess
import sys
import time

from local.layout import ROOT

# As `main` does it, with a command that goes on for longer than anyone waits.
CALL = """
import signal, types
from local import __main__ as command
signal.signal(signal.SIGTERM, command._terminate)
stack = types.SimpleNamespace(place=types.SimpleNamespace(api_address="nowhere"), check_alive=lambda: None)
command._call(stack, "-c", "import time; print('begun', flush=True); time.sleep(60)")
"""
AT_ONCE_S = 30.0


def test_the_command_is_ended_too() -> None:
    """SIGTERM reaches one process; Ctrl-C all that a terminal runs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploy")}
    with subprocess.Popen([sys.executable, "-c", CALL], env=environment, stdout=subprocess.PIPE) as called:
        assert called.stdout is not None
        assert called.stdout.readline() == b"begun\n"
        began_s = time.monotonic()
        called.send_signal(signal.SIGTERM)
        called.wait(60.0)
    assert time.monotonic() - began_s < AT_ONCE_S
