"""Owns how a tile's voxels reach Triton: inside the call, or through memory shared with a Triton on the same host."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.inference import TileShape
from brainmets.gateway.triton_connection import triton_errors
from brainmets.imaging.errors import DependencyUnavailableError
from brainmets.imaging.tile_contract import INPUT_NAME

# Tiles differ in size, and a region that is too small for the next one has to be made and told of anew. This holds the
# largest of the shipped networks' contract; what is never written takes no memory.
REGION_BYTES = 64 * 1024 * 1024
# Where Linux keeps it.
SHARED_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108
# Making a region known is a record in Triton's memory.
REGISTER_TIMEOUT_S = 5.0


class TileTransport(Protocol):
    """Makes an inference's input of a tile."""

    def hold(self, shape: TileShape) -> AbstractAsyncContextManager[NDArray[np.float32]]:
        """Return memory for a tile that needs no copy to be placed; after the block it is another tile's."""
        ...

    def place(self, voxels: NDArray[np.float32]) -> AbstractAsyncContextManager[InferInput]:
        """Return the input that holds a tile (C, D + 2 halo, H, W); it is valid inside the block."""
        ...

    async def close(self) -> None:
        """Give back what the transport holds."""


class MessageTransport:
    """Sends voxels inside the call: reaches a Triton anywhere."""

    @asynccontextmanager
    async def hold(self, shape: TileShape) -> AsyncIterator[NDArray[np.float32]]:
        """Return memory of this process."""
        yield np.empty(shape, np.float32)

    @asynccontextmanager
    async def place(self, voxels: NDArray[np.float32]) -> AsyncIterator[InferInput]:
        """Return an input that carries the voxels itself."""
        tile = _new_input(voxels)
        tile.set_data_from_numpy(voxels[np.newaxis])
        yield tile

    async def close(self) -> None:
        """Hold nothing, give nothing back."""


@dataclass(slots=True, eq=False)
class _Region:
    """A piece of shared memory, how much of it is sure to be there, and whether Triton knows it."""

    memory: SharedMemory
    reserved_bytes: int = 0
    known: bool = False

    def voxels(self, shape: TileShape) -> NDArray[np.float32]:
        """Return its beginning as voxels.

        Raises:
            DependencyUnavailableError: The machine has no room for them.
        """
        size_bytes = _size_bytes(shape)
        if size_bytes > self.reserved_bytes:
            # Else the kernel looks for room as voxels are written, and kills the process where it finds none.
            _reserve(self.memory.name, size_bytes)
            self.reserved_bytes = size_bytes
        return np.ndarray(shape, np.float32, self.memory.buf)


class SharedMemoryTransport:
    """Has voxels written where a Triton that shares this host's memory reads them.

    There are as many regions as tiles are held at a time. Their names vanish with this process, however it ends:
    Python's resource tracker outlives it and removes them.
    """

    def __init__(self, client: InferenceServerClient) -> None:
        self._client = client
        self._free: list[_Region] = []
        # By the address of the voxels in it.
        self._held: dict[int, _Region] = {}

    @asynccontextmanager
    async def hold(self, shape: TileShape) -> AsyncIterator[NDArray[np.float32]]:
        """Return a region's memory; this process's where the machine has no room, which `place` tells."""
        async with AsyncExitStack() as stack:
            try:
                voxels = await stack.enter_async_context(self._occupy(shape))
            except DependencyUnavailableError:
                voxels = np.empty(shape, np.float32)
            yield voxels

    @asynccontextmanager
    async def _occupy(self, shape: TileShape) -> AsyncIterator[NDArray[np.float32]]:
        region = await self._take(_size_bytes(shape))
        try:
            voxels = region.voxels(shape)
            self._held[voxels.ctypes.data] = region
            try:
                yield voxels
            finally:
                del self._held[voxels.ctypes.data]
        finally:
            self._free.append(region)

    @asynccontextmanager
    async def place(self, voxels: NDArray[np.float32]) -> AsyncIterator[InferInput]:
        """Return an input that names the region that holds the voxels, or another with a copy of them.

        Raises:
            DependencyUnavailableError: Triton cannot be told of the region now, or the machine has no room for it.
        """
        region = self._held.get(voxels.ctypes.data)
        if region is None:
            async with self._occupy(cast("TileShape", voxels.shape)) as copy:
                copy[:] = voxels
                async with self.place(copy) as tile:
                    yield tile
            return
        try:
            if not region.known:
                await self._register(region)
            tile = _new_input(voxels)
            tile.set_shared_memory(region.memory.name, voxels.nbytes)
            yield tile
        except DependencyUnavailableError:
            # A Triton that was started again knows no region of before.
            region.known = False
            raise

    async def _take(self, size_bytes: int) -> _Region:
        while self._free:
            region = self._free.pop()
            if region.memory.size >= size_bytes:
                return region
            await self._drop(region)
        name = f"brainmets_tile_{os.getpid()}_{os.urandom(4).hex()}"
        return _Region(SharedMemory(name, create=True, size=max(size_bytes, REGION_BYTES)))

    async def _register(self, region: _Region) -> None:
        memory = region.memory
        # Triton refuses a name that it knows, as after a call that broke off without its having been restarted.
        await self._unregister(region)
        with triton_errors(memory.name):
            await self._client.register_system_shared_memory(
                memory.name, memory.name, memory.size, client_timeout=REGISTER_TIMEOUT_S
            )
        region.known = True

    async def _unregister(self, region: _Region) -> None:
        with triton_errors(region.memory.name):
            await self._client.unregister_system_shared_memory(region.memory.name, client_timeout=REGISTER_TIMEOUT_S)

    async def _drop(self, region: _Region) -> None:
        try:
            if region.known:
                # Triton keeps what an inference reads, also for a moment after it has answered.
                with suppress(DependencyUnavailableError):
                    await retry_while_unavailable(lambda: self._unregister(region), Deadline.after(REGISTER_TIMEOUT_S))
        finally:
            region.memory.unlink()
            # An error's traceback may still hold the voxels: what it shows goes with it.
            with suppress(BufferError):
                region.memory.close()

    async def close(self) -> None:
        """Give every region back."""
        regions, self._free = self._free, []
        await asyncio.gather(*(self._drop(region) for region in regions))


def _size_bytes(shape: TileShape) -> int:
    return math.prod(shape) * np.dtype(np.float32).itemsize


def _reserve(name: str, size_bytes: int) -> None:
    descriptor = os.open(SHARED_MEMORY_FOLDER / name, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        raise DependencyUnavailableError(
            "There is no room for a tile in shared memory",
            expected=f"{size_bytes} bytes in {SHARED_MEMORY_FOLDER}",
            got=error.strerror or "none",
            remedy="give the container more shared memory, or unset BRAINMETS_TRITON_SHARES_MEMORY",
        ) from error
    finally:
        os.close(descriptor)


def _new_input(voxels: NDArray[np.float32]) -> InferInput:
    return InferInput(INPUT_NAME, (1, *voxels.shape), "FP32")
