"""Owns how log events are written: as fields, in JSON lines, with nothing that may quote a patient's data."""

import logging
import sys
import threading
from types import TracebackType
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from brainmets.runtime.settings import LogFormat

# Libraries that say more than anybody asked for.
_QUIET = ("asyncio", "grpc", "grpc._cython", "PIL", "urllib3")
# Deeper chains of causes are cut off.
MAX_CAUSES = 8


def configure_logging(service: str, log_format: LogFormat, *, stream: TextIO = sys.stderr) -> None:
    """Write the process's events, and those of the libraries it uses, to a stream; each names the service."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _ServiceName(service),
        describe_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_take_exception, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(log_format)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda given: _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log what nobody caught as every exception is; Python would print its message."""
    if issubclass(kind, SystemExit):
        # The way in which a thread ends itself; Python says nothing of it either.
        return
    if error is None or issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
        return
    structlog.get_logger(__name__).critical("uncaught", exc_info=(kind, error, trace))


def _renderer(log_format: LogFormat) -> Processor:
    if log_format is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


class _ServiceName:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"service": self._service, **event}


def _take_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Move a library's exception out of its record, where the formatter would print its message."""
    record: logging.LogRecord = event["_record"]
    event["exc_info"], record.exc_info, record.exc_text = record.exc_info, None, None
    if record.name == "asyncio":
        # What follows its first line are the task and its exception, in full.
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its kind and the places it passed; its message may quote the input."""
    given = event.pop("exc_info", None)
    error = _error_of(given)
    if error is not None:
        event["error"] = _describe(error)
    return event


def _error_of(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return cast("BaseException | None", given[1])  # logging's own triple
    return sys.exc_info()[1] if given else None


def _describe(error: BaseException) -> list[dict[str, object]]:
    """Return an exception and those that led to it, last first."""
    chain: list[dict[str, object]] = []
    link: BaseException | None = error
    while link is not None and len(chain) < MAX_CAUSES:
        chain.append({"kind": type(link).__qualname__, "where": _places(link.__traceback__)})
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return chain


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{trace.tb_frame.f_globals.get('__name__')}:{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places
