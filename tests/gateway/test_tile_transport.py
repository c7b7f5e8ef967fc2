"""Shared memory on a machine that has too little of it; the rest is tested with the real Triton."""

import errno
import os
from pathlib import Path

import pytest

from brainmets.gateway.tile_transport import SHARED_MEMORY_FOLDER, SharedMemoryTransport
from brainmets.gateway.triton_connection import connect_triton
from brainmets.imaging.errors import DependencyUnavailableError


def our_regions() -> list[Path]:
    """Return the regions of this process."""
    return sorted(SHARED_MEMORY_FOLDER.glob(f"brainmets_tile_{os.getpid()}_*"))


async def place_held(transport: SharedMemoryTransport) -> None:
    """Place a tile that was written where the transport said."""
    async with transport.hold((4, 5, 32, 32)) as voxels:
        voxels[:] = 0.0
        async with transport.place(voxels):
            pass


async def test_too_little_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would end the process amid the voxels; what was taken is given back."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    async with connect_triton("127.0.0.1:1") as client:
        transport = SharedMemoryTransport(client)
        with pytest.raises(DependencyUnavailableError, match="shared memory") as caught:
            await place_held(transport)
        await transport.close()
    assert "No space left" in caught.value.got
    assert our_regions() == []
