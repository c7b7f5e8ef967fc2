"""Owns a terminal of 80 columns in which the command line runs, for tests to type into and read."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

# The child takes the terminal for its own: Ctrl-C typed there reaches it as a signal, as in a shell, also where whoever
# runs the tests ignores it, as what is started in the background does.
CHILD = """
import fcntl, signal, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
{before}
from brainmets.client.commands import app
app()
"""
ROWS, COLUMNS = 24, 80
CTRL_C = b"\x03"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
TIMEOUT_S = 60.0


class Terminal:
    """A command in a terminal of its own, and Python that its process runs before."""

    def __init__(self, *words: str, before: str = "") -> None:
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.command = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(before=before), *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        """Everything that was written to it."""
        return self._shown.decode(errors="replace")

    @property
    def is_clean(self) -> bool:
        """Whether the cursor is there again after it was hidden, and nothing of Python's own was said."""
        plain = all(word not in self.shown for word in ("Traceback", "Task was destroyed", "Exception ignored"))
        return plain and self.shown.rfind(SHOW_CURSOR) > self.shown.rfind(HIDE_CURSOR) >= 0

    def press(self, key: bytes) -> None:
        """Type a key."""
        os.write(self._screen, key)

    def wait_for(self, words: str) -> None:
        """Return once something is shown; meanwhile nothing else of this thread runs."""
        give_up_s = time.monotonic() + TIMEOUT_S
        while words not in self.shown:
            assert time.monotonic() < give_up_s, self.shown
            assert self.command.poll() is None, self.shown
            time.sleep(0.02)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Return the exit code, when everything is read."""
        code = self.command.wait(timeout_s)
        self._reader.join()
        return code

    def close(self) -> None:
        """Take the terminal away, and kill what still runs in it."""
        if self.command.poll() is None:
            for process in (*psutil.Process(self.command.pid).children(recursive=True), self.command):
                process.kill()
            self.command.wait()
        self._reader.join()
        os.close(self._screen)

    def _read(self) -> None:
        while True:
            try:
                read = os.read(self._screen, 4096)
            except OSError:
                # Nobody holds the other end any more.
                return
            self._shown += read


@contextmanager
def terminal(*words: str, before: str = "") -> Iterator[Terminal]:
    """Run a command in a terminal while the block runs."""
    opened = Terminal(*words, before=before)
    try:
        yield opened
    finally:
        opened.close()
