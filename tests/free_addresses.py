"""Owns where tests let things listen."""

import socket
from contextlib import ExitStack


def free_addresses(count: int = 1) -> list[str]:
    """Return different addresses of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]
