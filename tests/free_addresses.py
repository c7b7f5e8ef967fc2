"""Owns where tests let things listen."""

import socket
from random import SystemRandom

HOST = "127.0.0.1"
# Below the range that outgoing connections and port 0 take theirs from, and where no stack has its hundred.
PORTS = range(2_000, 8_000)
TRIES = 1000


def free_addresses(count: int = 1) -> list[str]:
    """Return different addresses of this machine that nobody listens on, nor is told of while this process lives."""
    return [f"{HOST}:{_claim_port()}" for _ in range(count)]


def _claim_port() -> int:
    for _ in range(TRIES):
        port = SystemRandom().choice(PORTS)
        if _claim(port):
            return port
    message = f"no free port was found in {PORTS}"
    raise OSError(message)


def _claim(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0brainmets-test-port-{port}")
        socket.create_server((HOST, port)).close()
    except OSError:
        claim.close()
        return False
    # Kept open until the process ends.
    claim.detach()
    return True
