"""Runs the stack's processes under honcho until told to stop, or until one of them ends.

It ends with its standard input, so that it never outlives whoever started it;
`--alone` makes it independent. Who it is, and which process ended first, it writes to the state folder.
"""

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

from honcho.printer import Message  # type: ignore[import-untyped]  # published without types

from brainmets.serving.processes import PatientManager
from local.layout import ROOT
from local.ports import Ports
from local.processes import FOLDERS, Place, StackProcess, stack_processes
from local.shared_memory import free_left_over_regions
from local.stack import Record

_STOPPED = " stopped (rc="
_POLL_S = 0.1
# A killed process is gone once the kernel has taken its memory apart.
_KILL_TIMEOUT_S = 5.0


class _FirstToStop:
    """Honcho's printer: notes which process ended first."""

    # Honcho aligns names by it.
    width = 0

    def __init__(self, record: Record) -> None:
        self._record = record
        self._asked = False

    def write(self, message: Message) -> None:
        """Take one of honcho's own lines; the processes write to their logs themselves."""
        line = message.data
        if " received" in line:
            self._asked = True
        elif _STOPPED in line and not self._asked:
            self._asked = True
            self._record.note_failure(line.split(_STOPPED)[0])


class _ThoroughManager(PatientManager):
    """A manager that leaves nothing behind."""

    def kill_left_over(self) -> None:
        """Kill what processes that have ended left behind, such as the backends of a Triton that was killed."""
        for process in self._processes.values():
            # Each leads a group of its own, which outlives it; a group that is empty is none.
            self._procmgr.kill(process["pid"])
        give_up_s = time.monotonic() + _KILL_TIMEOUT_S
        while any(map(_is_group_alive, (process["pid"] for process in self._processes.values()))):
            if time.monotonic() > give_up_s:
                return
            time.sleep(_POLL_S)


def _is_group_alive(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def main(place: Place, *, alone: bool) -> int:
    """Run until SIGTERM, Ctrl-C, the end of standard input, or the end of one process."""
    place.make_folders()
    record = Record.begin(place, pid=os.getpid())
    manager = _ThoroughManager(_FirstToStop(record))
    for process in stack_processes(place):
        manager.add_process(process.name, _command(process, place), env=dict(process.environment), cwd=str(ROOT))
    if not alone:
        threading.Thread(target=_stop_with_input, daemon=True).start()
    manager.loop()
    manager.kill_left_over()
    free_left_over_regions()
    record.end()
    return int(manager.returncode or 0)


def _command(process: StackProcess, place: Place) -> str:
    # exec: the signal that honcho sends must reach the process and not a shell.
    return f"exec {shlex.join(process.words)} > {shlex.quote(str(place.log(process.name)))} 2>&1 < /dev/null"


def _stop_with_input() -> None:
    # Not sys.stdin: this thread would hold its lock while honcho forks, and the fork waits for it for ever.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local.supervisor", description=__doc__)
    parser.add_argument("first_port", type=int)
    parser.add_argument("--alone", action="store_true")
    for folder in FOLDERS:
        parser.add_argument(f"--{folder}", dest=folder, type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    folders = {folder: getattr(arguments, folder) for folder in FOLDERS}
    sys.exit(main(Place(Ports.starting_at(arguments.first_port), **folders), alone=arguments.alone))
