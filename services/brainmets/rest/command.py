"""Owns `brainmets rest`: the REST backend until Ctrl-C. The client finds it by its entry point."""

import asyncio
import socket

import typer
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from brainmets.client.service_options import Service
from brainmets.rest.app import build_app

# For what is under way: a study that is being sent may take longer than whoever stops us will wait.
_GRACE_S = 10


class Server(uvicorn.Server):
    """A server of our application, whose event streams end when it stops."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S))
        self._stopping: asyncio.Event = app.state.stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop once what is under way has been answered."""
        self._stopping.set()
        await super().shutdown(sockets)


def rest(service: Service, *, listen: str, max_study_bytes: int) -> bool:
    """Serve HTTP until Ctrl-C, and return whether it ended in order.

    Args:
        service: The service to call.
        listen: host:port to listen on.
        max_study_bytes: Largest request taken.

    Raises:
        typer.BadParameter: It cannot listen there.
        TlsFileError: A file of certificates or a key cannot be used.
    """
    console = Console(stderr=True)
    with _listen(listen) as opened:
        try:
            asyncio.run(_serve(service, listen, max_study_bytes, opened, console))
        except KeyboardInterrupt:
            console.print("Stopped. Jobs that have not ended go on.")
    return True


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        return socket.create_server((bare, int(port)), family=family)
    except OSError as error:
        raise typer.BadParameter(
            f"expected an address of this machine on which nothing listens, got {address} ({error.strerror}); "
            "name another",
            param_hint="--listen",
        ) from error


async def _serve(service: Service, listen: str, max_study_bytes: int, opened: socket.socket, console: Console) -> None:
    async with service.async_client() as client:
        app = build_app(client, host=listen.rpartition(":")[0], max_study_bytes=max_study_bytes)
        console.print(
            f"Listening at http://{listen}, described at /openapi.json. Ctrl-C stops it.",
            highlight=False,
            soft_wrap=True,
        )
        await Server(app).serve(sockets=[opened])
