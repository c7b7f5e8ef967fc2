"""Owns how a stream of requests that is refused is ended: its client is heard out first, for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from brainmets.imaging.errors import BrainmetsError

# gRPC's asyncio client for Python loses the status of a streaming call that is refused while it still writes, and says
# INTERNAL instead. Most studies arrive in less than this; a client that sends for longer is cut off.
HEARING_S = 1.0


@asynccontextmanager
async def heard_out(requests: AsyncIterator[object]) -> AsyncIterator[None]:
    """Read what is left of a stream, and forget it, before the error of the block goes on its way."""
    try:
        yield
    except BrainmetsError:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARING_S):
                async for _ in requests:
                    pass
        raise
