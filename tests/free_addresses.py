"""Owns where tests let things listen."""

import socket
from random import SystemRandom

from brainmets.serving.places import find_fault
from local.ports import HOST, SPAN, Ports

# Below the range that outgoing connections and port 0 take theirs from, and where no stack has its hundred.
PORTS = range(2_000, 8_000)
# Where stacks have theirs, likewise.
FIRST_PORTS = range(10_000, 32_000, SPAN)
TRIES = 1000


def free_addresses(count: int = 1) -> list[str]:
    """Return different addresses of this machine that nobody listens on, nor is told of while this process lives."""
    return [f"{HOST}:{_claim_port()}" for _ in range(count)]


def free_ports() -> Ports:
    """Return a stack's ports, likewise."""
    for _ in range(TRIES):
        ports = Ports.starting_at(SystemRandom().choice(FIRST_PORTS))
        if ports.find_busy() is None and _claim(f"ports-{ports.api}"):
            return ports
    message = f"no hundred free ports were found in {FIRST_PORTS}"
    raise OSError(message)


def _claim_port() -> int:
    for _ in range(TRIES):
        port = SystemRandom().choice(PORTS)
        if find_fault(HOST, port) is None and _claim(f"test-port-{port}"):
            return port
    message = f"no free port was found in {PORTS}"
    raise OSError(message)


def _claim(name: str) -> bool:
    """Take a name on this machine until the process ends, and return whether it was nobody's."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0brainmets-{name}")
    except OSError:
        held.close()
        return False
    # Kept open.
    held.detach()
    return True
