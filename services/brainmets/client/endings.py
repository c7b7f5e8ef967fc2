"""How a command ends: exit codes, and expected errors as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import typer

from brainmets.client.errors import (
    TLS_REASON,
    UNREACHED_REASON,
    MissingExtraError,
    ResultsUnsavedError,
    ServiceError,
    StudyPathError,
    TlsFileError,
)
from brainmets.client.interruption import Interruption
from brainmets.client.printable import printable
from brainmets.client.service_options import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

_DEFAULT_SERVICE = Service()
QUALITY_REFUSED = "QUALITY_REFUSED"
_FORCE_HINT = "--force segments it all the same; the findings stay in the result. `brainmets inspect` shows them."
_BAD_STUDY_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}


class ExitCode:
    """What a script can tell the outcome by; 2 is a wrong command line, as everywhere."""

    OK = 0
    FAILED = 1
    BAD_STUDY = 3
    UNREACHED = 4
    INTERRUPTED = 130


class CanaryCode:
    """What the canary ends with, as monitoring knows it; a wrong command line is no answer either."""

    RIGHT = 0
    WRONG_ANSWER = 1
    NO_ANSWER = 2


class errors_end_the_command:  # noqa: N801 - reads as a sentence where it is used
    """Prints an expected error as one sentence and ends the command with its exit code.

    Args:
        console: Where to print.
        service: What the command calls, and what is to be typed next calls.
        interrupted: Called on Ctrl-C; does what is to be done then, and says how it went.
    """

    def __init__(
        self,
        console: Console,
        service: Service = _DEFAULT_SERVICE,
        *,
        interrupted: Callable[[], Interruption] = Interruption,
    ) -> None:
        self._console = console
        self._service = service
        self._interrupted = interrupted

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case StudyPathError():
                self._end(str(error), ExitCode.BAD_STUDY)
            case MissingExtraError() | TlsFileError():
                self._end(str(error), ExitCode.FAILED)
            case ServiceError() if error.reason == QUALITY_REFUSED:
                self._end(f"{error.message} [{error.reason}]", ExitCode.BAD_STUDY, hint=_FORCE_HINT)
            case ServiceError() if error.code in _BAD_STUDY_CODES:
                self._end(f"{error.message} [{error.reason}]", ExitCode.BAD_STUDY)
            case ServiceError() if error.is_transient or error.reason in {TLS_REASON, UNREACHED_REASON}:
                self._end(error.message, ExitCode.UNREACHED)
            case ServiceError():
                self._end(f"{error.message} [{error.reason}]", ExitCode.FAILED)
            # One of a file system has a number.
            case TimeoutError() if error.errno is None:
                sentence = str(error) or "expected an answer in time, got none; what goes on is listed by"
                commands = () if str(error) else (self._service.command("jobs"),)
                self._end(sentence, ExitCode.UNREACHED, commands=commands)
            case OSError():
                self._end_at_a_file(error)
            case KeyboardInterrupt():
                interruption = self._interrupted()
                self._end(interruption.sentence, ExitCode.INTERRUPTED, commands=interruption.commands)
            case _:
                return

    def _end_at_a_file(self, error: OSError) -> None:
        # Of what was read or written here, not of the service. A read that fails names no file.
        name = f": {error.filename}" if error.filename else ""
        sentence = f"expected a file that can be used, got “{error.strerror}”{name}"
        if isinstance(error, ResultsUnsavedError):
            command = self._service.command("fetch", error.job_id, "--output", error.filename)
            self._end(f"{sentence}; once that is mended, fetch them with", ExitCode.FAILED, commands=(command,))
        self._end(sentence, ExitCode.FAILED)

    def _end(self, sentence: str, code: int, *, hint: str = "", commands: tuple[str, ...] = ()) -> None:
        for line in (f"brainmets: {sentence}", hint) if hint else (f"brainmets: {sentence}",):
            # A sentence may hold the name of a file, and that anything.
            self._console.print(printable(line), style="red", markup=False, highlight=False)
        for command in commands:
            # Not broken into lines: it is there to be copied.
            self._console.print(f"  {printable(command)}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(code)
