"""Runs the embedded stack (`python -m local run|up|down|bench|load`): what the make targets of these names do.

What computes is imported where it is used, once the stack has been started: it takes a second to load, for which nobody
shall wait.
"""

# ruff: noqa: PLC0415 -- as above

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local.engine_kind import read_kind
from local.errors import StackError
from local.layout import LOGS, MODEL_REPOSITORY, PYTHON, ROOT, VENV
from local.ports import Ports
from local.processes import Place
from local.stack import Stack

DEFAULT_OUTPUT = Path("out")
INTERRUPTED = 130
_POLL_S = 0.1


def run(study: Path | None, output: Path) -> int:
    """Segment a study, by default the demonstration's, on a stack that lives as long as that takes."""
    _check_models()
    _check_study(study)
    with _running_stack("run") as stack:
        if study is not None:
            return _segment(stack, study, output)
        from local.demonstration import load_demonstration

        demonstration = load_demonstration()
        exit_code = _segment(stack, demonstration.study, output)
    if exit_code == 0:
        from local.comparison import print_comparison

        print_comparison(demonstration, output / "mask.nii.gz")
    return exit_code


def up() -> int:
    """Start a stack and leave it running."""
    _check_models()
    stack = Stack.find() or _start("up", alone=True)
    address = stack.place.api_address
    print(f"The service is at {address}; `make down` stops it. Logs: {LOGS}")
    print(f"Call it: {(VENV / 'bin/brainmets').relative_to(ROOT)} segment STUDY --address {address}")
    return 0


def down() -> int:
    """Stop the stack that was left running."""
    stack = Stack.find()
    if stack is None:
        print("No stack is running.")
        return 0
    stack.stop()
    print("The stack has stopped.")
    return 0


def bench(study: Path | None, options: list[str]) -> int:
    """Measure a study, by default the demonstration's."""
    _check_models()
    _check_study(study)
    with _running_stack("bench") as stack:
        if study is None:
            from local.demonstration import load_demonstration

            study = load_demonstration().study
        return _call(stack, ROOT / "tests/benchmarks/study_bench.py", "--study", study, *options)


def load(options: list[str]) -> int:
    """Send phantoms at a steady rate by k6."""
    _check_models()
    with _running_stack("load") as stack:
        return _call(stack, ROOT / "tests/load/study_load.py", *options)


@contextmanager
def _running_stack(target: str) -> Iterator[Stack]:
    """Yield the stack that was left running, else one for the time of the block, which a make target asked for."""
    found = Stack.find()
    if found is not None:
        yield found
        return
    stack = _start(target, alone=False)
    try:
        yield stack
    finally:
        stack.stop()


def _start(target: str, *, alone: bool) -> Stack:
    # Here too: Triton would say it in a wall of its settings.
    read_kind(os.environ)
    ports = Ports.from_environment(os.environ)
    ports.check_free(target=target)
    print("Starting Redis, Triton, preprocessing, API and worker ...", end=" ", flush=True)
    began_s = time.monotonic()
    stack = Stack.start(Place(ports), alone=alone)
    try:
        from local.readiness import wait_until_ready

        wait_until_ready(stack.place, stack.check_alive)
    except BaseException:
        print(flush=True)
        stack.stop()
        raise
    print(f"{time.monotonic() - began_s:.1f} s", flush=True)
    return stack


def _segment(stack: Stack, study: Path, output: Path) -> int:
    """Run the command line as a person would, and return its exit code."""
    return _call(stack, "-m", "brainmets.client", "segment", study, "--output", output)


def _call(stack: Stack, *words: str | Path) -> int:
    """Run a Python program that takes the stack's address, while the stack lives; return its exit code."""
    command = subprocess.Popen([PYTHON, *words, "--address", stack.place.api_address])
    try:
        while command.poll() is None:
            stack.check_alive()
            time.sleep(_POLL_S)
    finally:
        # On Ctrl-C, which the whole terminal hears, it got the signal too: it cancels its job and ends.
        if command.poll() is None and sys.exc_info()[0] is not KeyboardInterrupt:
            command.terminate()
        command.wait()
    return command.returncode


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which as a rule this process alone has got."""


def _terminate(*_: object) -> None:
    raise _TerminatedError


def _check_study(study: Path | None) -> None:
    if study is not None and not study.exists():
        raise StackError(
            f"There is nothing at {study}; expected a NIfTI or DICOM file, a folder of them, or a zip archive of DICOM."
        )


def _check_models() -> None:
    if not list(MODEL_REPOSITORY.glob("*/*/model.onnx")):
        raise StackError(f"There are no networks in {MODEL_REPOSITORY}; `make train export` makes them.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local", description=__doc__)
    parser.add_argument("action", choices=("run", "up", "down", "bench", "load"))
    parser.add_argument("--study", type=Path)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--options", type=shlex.split, default=[], help="of bench or load, one word: '--per-minute 20'")
    return parser.parse_args()


def main() -> int:
    """Do what is asked for; what keeps it from being done is told in one sentence."""
    # A closed terminal ends the stack as Ctrl-C does.
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    arguments = _arguments()
    actions: dict[str, Callable[[], int]] = {
        "run": lambda: run(arguments.study, arguments.output),
        "up": up,
        "down": down,
        "bench": lambda: bench(arguments.study, arguments.options),
        "load": lambda: load(arguments.options),
    }
    try:
        return actions[arguments.action]()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
