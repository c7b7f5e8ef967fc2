"""Owns a stand-in for what ends TLS before the API: it asks for a client's certificate and passes bytes on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

HOST = "127.0.0.1"


@asynccontextmanager
async def ending_tls(address: str, files: Path) -> AsyncIterator[str]:
    """End TLS for a plaintext host:port with a folder's tls.crt, tls.key and ca.crt; yields where that is."""
    host, _, port = address.rpartition(":")

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(reader, plain_writer), _pass_on(plain_reader, writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files / "tls.crt", files / "tls.key")
    context.set_alpn_protocols(["h2"])
    async with await asyncio.start_server(connect, HOST, 0, ssl=context) as server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            target.write(piece)
            await target.drain()
    except ConnectionError:
        # Whoever left need not be told.
        pass
    finally:
        target.close()
