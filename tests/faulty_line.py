"""Owns a line to a service that can be cut, silenced and mended."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self


class FaultyLine:
    """Carries TCP connections to an address; `cut` breaks them and refuses others until `mend`.

    Args:
        target: Whom it leads to.
        cut_after_bytes: The first connection breaks when it has carried more to it.
        up_bytes_a_s: How fast it carries to it.

    Attributes:
        address: Where it is called; set once it is open.
        up_bytes: How many bytes each connection has carried to the target.
    """

    def __init__(self, target: str, *, cut_after_bytes: float = math.inf, up_bytes_a_s: float = math.inf) -> None:
        self._target = target
        self._cut_after_bytes = cut_after_bytes
        self._up_bytes_a_s = up_bytes_a_s
        self._writers: set[asyncio.StreamWriter] = set()
        self._whole = True
        self.address = ""
        self.up_bytes: list[int] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen on a free port while the block runs."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Break all connections, and each new one at once."""
        self._whole = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        """Carry what comes from now on."""
        self._whole = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        host, port = self._target.rsplit(":", 1)
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        ends = {writer, there_writer}
        self._writers |= ends
        number = len(self.up_bytes)
        self.up_bytes.append(0)

        async def forward() -> None:
            while data := await reader.read(65536):
                self.up_bytes[number] += len(data)
                there_writer.write(data)
                await there_writer.drain()
                await asyncio.sleep(len(data) / self._up_bytes_a_s)
                if number == 0 and self.up_bytes[0] > self._cut_after_bytes:
                    break
            for end in ends:
                end.close()

        async def backward() -> None:
            while data := await there_reader.read(65536):
                writer.write(data)

        await asyncio.gather(forward(), backward(), return_exceptions=True)
        self._writers -= ends
