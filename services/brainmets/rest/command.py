"""Owns `brainmets rest`: the REST backend until Ctrl-C. The client finds it by its entry point."""

import asyncio
import signal
import socket
from contextlib import suppress
from types import FrameType

import typer
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from brainmets.client.service_options import Service
from brainmets.rest.app import build_app

# For what is under way: a study that is being sent may take longer than whoever stops us will wait.
_GRACE_S = 10


class Server(uvicorn.Server):
    """A server of our application, which ends in order what is under way when it stops."""

    def __init__(self, app: FastAPI) -> None:
        # The application has no life of its own to begin and end.
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        self._stopping: asyncio.Event = app.state.stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's
        """Take SIGTERM for Ctrl-C, as the services do: raised again by uvicorn, it would end us without a word."""
        super().handle_exit(signal.SIGINT, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop once what is under way has been answered, or has not been in time, or a second Ctrl-C will not wait."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await super().shutdown(sockets)
        # Ended here and waited for: what signals do next would leave files behind.
        if tasks := self.server_state.tasks.copy():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_GRACE_S)


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
    # Nothing is raised where Ctrl-C is ignored, as in what a script starts in the background.
    with _listen(listen) as opened, suppress(KeyboardInterrupt):
        asyncio.run(_serve(service, listen, max_study_bytes, opened, console))
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
