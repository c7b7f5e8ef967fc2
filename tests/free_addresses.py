"""Owns where tests let things listen."""

from random import SystemRandom

from local.ports import HOST, claim, is_free

# Below the range that outgoing connections and port 0 take theirs from, and where no stack has its hundred.
PORTS = range(2_000, 8_000)
TRIES = 1000


def free_addresses(count: int = 1) -> list[str]:
    """Return different addresses of this machine that nobody listens on, nor is told of while this process lives."""
    return [f"{HOST}:{_claim_port()}" for _ in range(count)]


def _claim_port() -> int:
    for _ in range(TRIES):
        port = SystemRandom().choice(PORTS)
        if is_free(port) and claim(f"test-port-{port}"):
            return port
    message = f"no free port was found in {PORTS}"
    raise OSError(message)
