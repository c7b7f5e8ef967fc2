"""Owns a running stack as its user sees it: started, ready, stopped, or ended by the death of one part."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local.errors import StackError
from local.layout import PYTHON, ROOT, SERVICES, STATE
from local.ports import Ports
from local.processes import FOLDERS, Place

LAST_LINES = 15
# As a rule it takes seconds; a study under way 20 s, and a process that hangs its grace (`running_programs.GRACE_S`).
STOP_TIMEOUT_S = 240.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Record:
    """What a stack's supervisor leaves in its state folder for others to find it by."""

    path: Path

    @classmethod
    def of(cls, state: Path) -> Self:
        """Return the record of the stack in a state folder."""
        return cls(state / "supervisor.json")

    @classmethod
    def begin(cls, place: Place, *, pid: int) -> Self:
        """Note that a stack runs now."""
        record = cls.of(place.state)
        record.failure_path.unlink(missing_ok=True)
        record.path.write_text(json.dumps({"pid": pid, "first_port": place.ports.api}))
        return record

    @property
    def failure_path(self) -> Path:
        """Where the name of the process stands that ended by itself."""
        return self.path.with_name("first-to-stop")

    def note_failure(self, process_name: str) -> None:
        """Note which process ended by itself."""
        self.failure_path.write_text(process_name)

    def end(self) -> None:
        """Note that the stack has stopped."""
        self.path.unlink(missing_ok=True)

    def read_failure(self) -> str:
        """Return which process ended by itself, or nothing."""
        return self.failure_path.read_text() if self.failure_path.exists() else ""

    def find_running(self) -> tuple[int, Ports] | None:
        """Return the supervisor's pid and ports when it lives."""
        try:
            known = json.loads(self.path.read_text())
            words = Path(f"/proc/{known['pid']}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # The pid may be another program's by now.
        return (known["pid"], Ports.starting_at(known["first_port"])) if b"local.supervisor" in words else None


class Stack:
    """A stack this process has started or found."""

    def __init__(self, place: Place, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.place = place
        self._pid = pid
        self._child = child

    @classmethod
    def find(cls) -> Self | None:
        """Return the stack that was left running, or None."""
        running = Record.of(STATE).find_running()
        return None if running is None else cls(Place(running[1]), running[0])

    @classmethod
    def start(cls, place: Place, *, alone: bool) -> Self:
        """Start a stack on free ports; unless `alone` it ends with this process."""
        place.make_folders()
        folders = [word for folder in FOLDERS for word in (f"--{folder}", str(getattr(place, folder)))]
        words = [str(PYTHON), "-m", "local.supervisor", str(place.ports.api), *folders]
        with place.log("supervisor").open("wb") as log:
            child = subprocess.Popen(
                [*words, "--alone"] if alone else words,
                cwd=ROOT,
                # This checkout's code, also where the environment was installed from another one.
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SERVICES), str(Path(__file__).parents[1])))},
                stdin=subprocess.DEVNULL if alone else subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C is this process's to handle: it stops the stack in order.
                start_new_session=True,
            )
        return cls(place, child.pid, child)

    def check_alive(self) -> None:
        """Return while the stack runs.

        Raises:
            StackError: It has stopped; the sentence names the part that ended first, and its log.
        """
        if not self._is_alive():
            name = Record.of(self.place.state).read_failure() or "supervisor"
            log = self.place.log(name)
            raise StackError(f"The stack stopped because {name} ended. Its log, {log}, ends with:\n{_tail(log)}")

    def stop(self) -> None:
        """Stop every process and return once they have ended."""
        give_up_s = time.monotonic() + STOP_TIMEOUT_S
        if self._is_alive():
            os.kill(self._pid, signal.SIGTERM)
        while self._is_alive():
            if time.monotonic() > give_up_s:
                raise StackError(f"The stack does not stop; its supervisor is process {self._pid}.")
            time.sleep(_POLL_S)
        self.let_go()

    def let_go(self) -> None:
        """Close the pipe to a stack that was started here, as the end of this process does; it stops soon."""
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    def _is_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        running = Record.of(self.place.state).find_running()
        return running is not None and running[0] == self._pid


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
