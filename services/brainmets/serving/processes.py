"""Owns how honcho runs our processes: it stops them together, once all have started, and at once when asked twice."""

import sys
import threading
from collections import deque
from collections.abc import Callable

from honcho.manager import Manager  # type: ignore[import-untyped]  # published without types
from honcho.printer import Message, Printer  # type: ignore[import-untyped]  # as above

# What is shown of what the services said before one of them ended.
LAST_LINES = 20
_START_POLL_S = 0.1
_JOIN_TIMEOUT_S = 5.0


class PatientManager(Manager):  # type: ignore[misc]  # as above
    """Honcho's manager, which cannot stop processes of which it does not know yet that they started."""

    def terminate(self) -> None:
        """Stop every process, as soon as all have started."""
        self._terminate_when_started()

    def _terminate_when_started(self) -> None:
        if self._all_started():
            super().terminate()
        else:
            threading.Timer(_START_POLL_S, self._terminate_when_started).start()


class WatchedManager(PatientManager):
    """A manager whose processes are watched from a thread; told to stop a second time, it kills them.

    Args:
        printer: Takes what the processes write.
        watch: Called in the thread with an event that is set when the processes are to stop.
    """

    def __init__(self, printer: Printer, watch: Callable[[threading.Event], None]) -> None:
        super().__init__(printer)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=watch, args=(self._stopping,), daemon=True)

    def loop(self) -> None:
        """Run until all processes have ended, and the watcher with them."""
        super().loop()
        self._stopping.set()
        self._watcher.join(_JOIN_TIMEOUT_S)

    def terminate(self) -> None:
        """Stop every process; asked again before one has stopped, kill them."""
        if self._stopping.is_set() and self._all_started() and not self._any_stopped():
            self.kill()
        self._stopping.set()
        super().terminate()

    def _start(self) -> None:
        super()._start()
        # Not before: honcho forks, and the fork of a process in which gRPC is busy may hang.
        self._watcher.start()


class Screen(Printer):  # type: ignore[misc]  # as above
    """Honcho's printer, which can keep lines back.

    In a terminal it does until all are ready: till then the services say at length that others are not there yet.
    """

    def __init__(self, *, keeps_back: bool) -> None:
        super().__init__(sys.stdout)
        self._keeps_back = keeps_back
        self._kept: deque[Message] = deque(maxlen=LAST_LINES)

    def write(self, message: Message) -> None:
        """Take a line."""
        if self._keeps_back:
            self._kept.append(message)
        else:
            super().write(message)

    def open(self) -> None:
        """Show lines from now on; those that were kept back are forgotten."""
        self._keeps_back = False
        self._kept.clear()

    def show_kept(self) -> None:
        """Show the last lines of those that were kept back."""
        for message in self._kept:
            super().write(message)
