"""Owns `brainmets rest`: the REST backend until Ctrl-C. The client finds it by its entry point."""

import asyncio
import socket

import typer
import uvicorn
from rich.console import Console

from brainmets.client.service_options import Service
from brainmets.rest.app import build_app

# An event stream ends with its job, which may take longer than whoever stops us will wait.
_GRACE_S = 3


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
        host = listen.rpartition(":")[0].strip("[]")
        app = build_app(client, host=host, max_study_bytes=max_study_bytes)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S)
        console.print(f"Listening at http://{listen}, described at /openapi.json. Ctrl-C stops it.", highlight=False)
        await uvicorn.Server(config).serve(sockets=[opened])
