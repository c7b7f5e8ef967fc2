"""Owns the stack's ports: all on loopback, all within the hundred that begins with the API's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Self

from brainmets.serving import places
from local.errors import StackError

HOST = "127.0.0.1"
VARIABLE = "BRAINMETS_FIRST_PORT"
DEFAULT_FIRST_PORT = 8500
SPAN = 100
# The last one that leaves room for a hundred.
_HIGHEST_FIRST_PORT = 65_535 - SPAN + 1
_LOWEST_FIRST_PORT = 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each part of a stack listens."""

    api: int
    triton: int
    triton_metrics: int
    preprocessing: int
    redis: int
    api_health: int
    worker_health: int
    preprocessing_health: int
    api_metrics: int
    worker_metrics: int
    preprocessing_metrics: int

    @classmethod
    def starting_at(cls, first: int) -> Self:
        """Return the ports of the hundred that begins with `first`."""
        return cls(
            api=first,
            triton=first + 1,
            triton_metrics=first + 2,
            preprocessing=first + places.PREPROCESSING,
            redis=first + 79,
            api_health=first + places.API_HEALTH,
            worker_health=first + places.WORKER_HEALTH,
            preprocessing_health=first + places.PREPROCESSING_HEALTH,
            api_metrics=first + places.API_METRICS,
            worker_metrics=first + places.WORKER_METRICS,
            preprocessing_metrics=first + places.PREPROCESSING_METRICS,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return the ports that BRAINMETS_FIRST_PORT asks for, by default those of the documentation.

        Raises:
            StackError: The variable is no number that leaves room for the others.
        """
        text = environment.get(VARIABLE, "") or str(DEFAULT_FIRST_PORT)
        if not text.isdecimal() or not _LOWEST_FIRST_PORT <= int(text) <= _HIGHEST_FIRST_PORT:
            raise StackError(
                f"{VARIABLE}: expected a number from {_LOWEST_FIRST_PORT} to {_HIGHEST_FIRST_PORT}, got {text}."
            )
        return cls.starting_at(int(text))

    def find_busy(self) -> tuple[str, int] | None:
        """Return the first part and port that something listens on, or None."""
        return next(((part, port) for part, port in self.named() if places.find_fault(HOST, port)), None)

    def check_free(self, *, target: str) -> None:
        """Return when every port is free.

        Args:
            target: The make target that needs them, for what to do.

        Raises:
            StackError: One is not.
        """
        busy = self.find_busy()
        if busy is not None:
            part, port = busy
            other = self.api + 10 * SPAN
            other = other if other <= _HIGHEST_FIRST_PORT else DEFAULT_FIRST_PORT
            raise StackError(
                f"Port {port} ({part.replace('_', ' ')}) is in use. Stop what listens there (`make down` stops "
                f"a stack left running), or take other ports: {VARIABLE}={other} make {target}."
            )

    def named(self) -> Iterator[tuple[str, int]]:
        """Iterate over the parts and their ports."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))
