"""Log events are fields on one line, and never quote what an exception says."""

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from brainmets.runtime.logging import configure_logging
from brainmets.runtime.settings import LogFormat

NAME = "MUELLER^ANNA"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a process named "worker" writes as JSON; logging is put back afterwards."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook
    configure_logging("worker", LogFormat.JSON, stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks


def fail() -> None:
    """Raise an error that quotes a patient, because of another one that does."""
    raise ValueError(NAME) from KeyError(NAME)


def log_failure(log: logging.Logger | structlog.stdlib.BoundLogger) -> None:
    """Log an exception as code does."""
    try:
        fail()
    except ValueError:
        log.exception("broke")


def test_an_event_is_one_line_of_fields(written: io.StringIO) -> None:
    """A log can be searched by field."""
    structlog.get_logger("test").info("study_prepared", job_id="j1", tiles=8)
    event = json.loads(written.getvalue())
    assert (event["event"], event["job_id"], event["tiles"]) == ("study_prepared", "j1", 8)
    assert (event["service"], event["level"]) == ("worker", "info")
    assert event["timestamp"].endswith("Z")


def test_an_exception_is_told_by_kind_and_place(written: io.StringIO) -> None:
    """The operator learns what broke where, and why it broke."""
    log_failure(structlog.get_logger("test"))
    error, cause = json.loads(written.getvalue())["error"]
    assert (error["kind"], cause["kind"]) == ("ValueError", "KeyError")
    assert any(":fail:" in place for place in error["where"])


@pytest.mark.parametrize("library", [False, True])
def test_an_exceptions_message_is_not_written(written: io.StringIO, library: bool) -> None:  # noqa: FBT001 -- pytest's
    """A message may quote the input, from our code or a library's."""
    log_failure(logging.getLogger("library") if library else structlog.get_logger("test"))
    assert written.getvalue()
    assert NAME not in written.getvalue()


def test_a_lost_task_does_not_quote_its_exception(written: io.StringIO) -> None:
    """Asyncio says of a task that nobody waits for what it was, with all that it raised."""

    async def lose() -> None:
        async def fail_later() -> None:
            fail()

        task = asyncio.create_task(fail_later())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(lose())
    event = json.loads(written.getvalue())
    assert event["event"] == "Task exception was never retrieved"
    assert event["error"][0]["kind"] == "ValueError"
    assert NAME not in written.getvalue()


@pytest.mark.parametrize("in_thread", [False, True])
def test_what_nobody_caught_is_not_quoted(*, in_thread: bool) -> None:
    """The process's last words are a line like the others."""
    program = f"""
import sys, threading
from brainmets.runtime.logging import configure_logging
from brainmets.runtime.settings import LogFormat
configure_logging("worker", LogFormat.JSON)
def fail():
    raise ValueError("{NAME}")
if {in_thread}:
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
else:
    fail()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert NAME not in ended.stderr
    event = json.loads(ended.stderr)
    assert (event["event"], event["error"][0]["kind"]) == ("uncaught", "ValueError")
    assert (ended.returncode == 0) is in_thread


def test_libraries_write_the_same_lines(written: io.StringIO) -> None:
    """One process has one format."""
    logging.getLogger("library").warning("retrying %s", "soon")
    event = json.loads(written.getvalue())
    assert (event["event"], event["service"]) == ("retrying soon", "worker")


def test_debugging_is_off(written: io.StringIO) -> None:
    """Libraries' chatter costs time and may quote anything."""
    logging.getLogger("library").debug("chatter")
    assert not written.getvalue()


def test_a_terminal_gets_plain_lines() -> None:
    """A person reads the console format."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("worker", LogFormat.CONSOLE, stream=stream)
    structlog.get_logger("test").info("study_prepared", job_id="j1")
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    assert "study_prepared" in stream.getvalue()
