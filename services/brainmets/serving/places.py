"""Owns where the services of one machine listen: at the API's address, and at ports counted from it."""

import errno
import socket
from dataclasses import dataclass
from typing import Self

PREPROCESSING = 10
API_HEALTH, WORKER_HEALTH, PREPROCESSING_HEALTH = 80, 81, 82
API_METRICS, WORKER_METRICS, PREPROCESSING_METRICS = 90, 91, 92
_ABOVE = (
    0,
    PREPROCESSING,
    *(API_HEALTH, WORKER_HEALTH, PREPROCESSING_HEALTH),
    *(API_METRICS, WORKER_METRICS, PREPROCESSING_METRICS),
)
_HIGHEST_PORT = 65535
_ALL_INTERFACES = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- compared, not listened on


class AddressError(Exception):
    """Nothing can listen at an address, or above it; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of one machine.

    Attributes:
        host: Name or address; one of version 6 in brackets.
        port: The API's.
    """

    host: str
    port: int

    @classmethod
    def starting_at(cls, address: str) -> Self:
        """Return the places that belong to an API at host:port.

        Raises:
            AddressError: One of them is not free, or not this machine's.
        """
        host, _, port = address.rpartition(":")
        places = cls(host, int(port))
        places._check_free()
        return places

    def at(self, above: int) -> str:
        """Return the host:port that lies so many ports above the API's."""
        return f"{self.host}:{self.port + above}"

    @property
    def called(self) -> str:
        """host:port at which the API is called from this machine."""
        return f"{_ALL_INTERFACES.get(self.host, self.host)}:{self.port}"

    def _check_free(self) -> None:
        highest = _HIGHEST_PORT - _ABOVE[-1]
        if self.port > highest:
            raise AddressError(
                f"expected a port up to {highest}, because others above it are used too, got {self.port}; name another"
            )
        for above in _ABOVE:
            fault = find_fault(self.host.strip("[]"), self.port + above)
            if fault is not None and fault.errno == errno.EADDRINUSE:
                ports = ", ".join(str(self.port + each) for each in _ABOVE)
                raise AddressError(
                    f"expected ports {ports} to be free, got a program that listens at {self.at(above)}; end it "
                    "(`make down`, or Ctrl-C where `brainmets serve` runs), or name another"
                )
            if fault is not None:
                raise AddressError(
                    f"expected an address of this machine, got {self.at(above)}, where nothing can listen "
                    f"({fault.strerror}); name another"
                )


def find_fault(host: str, port: int) -> OSError | None:
    """Return why nothing can listen somewhere, None when something can."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    faults = [fault for family, *_, address in found if (fault := _try_to_bind(family, address)) is not None]
    # Of several addresses of a name, as localhost has them, one may be unknown here, but none taken.
    taken = [fault for fault in faults if fault.errno != errno.EADDRNOTAVAIL]
    return next(iter(taken or (faults if len(faults) == len(found) else [])), None)


def _try_to_bind(family: int, address: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a connection that has just ended does not hold a port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
