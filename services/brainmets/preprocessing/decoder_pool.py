"""Owns the decoders of the service: some are always warm, and one that went wrong is replaced by a fresh one."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Self

import structlog

from brainmets.formats.study_reader import ReadStudy, VolumeListener
from brainmets.preprocessing.decoder import Decoder
from brainmets.preprocessing.decoding_messages import DecodingLimits, DecodingOrder
from brainmets.preprocessing.shared_memory import Arena, StudyBytes
from brainmets.runtime.metrics import PreprocessingMetrics

READER = "brainmets.formats.study_reader:read_study"
# An arena that held more is not kept: an ordinary study has four sequences of 36 MB.
KEPT_BYTES = 256 * 1024**2
# Between attempts to start a decoder, when the machine has no room for one.
RESTART_S = 1.0

_log = structlog.get_logger(__name__)


class DecoderPool:
    """A number of decoders, each for one study at a time; one more study waits."""

    def __init__(self, count: int, limits: DecodingLimits, metrics: PreprocessingMetrics, *, reader: str) -> None:
        self._count = count
        self._limits = limits
        self._metrics = metrics
        self._reader = reader
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self._arenas: list[Arena] = []
        self._decoders: set[Decoder] = set()
        self._starts: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, count: int, limits: DecodingLimits, metrics: PreprocessingMetrics, *, reader: str = READER
    ) -> AsyncIterator[Self]:
        """Start the decoders, but do not wait for them; end them afterwards.

        Args:
            count: How many there are.
            limits: What one study may take.
            metrics: Where discarded ones are counted.
            reader: Function that reads a study, as module:function.
        """
        pool = cls(count, limits, metrics, reader=reader)
        try:
            for _ in range(count):
                pool._start_soon(pool._add())
            yield pool
        finally:
            await pool._close()

    async def wait_until_ready(self) -> None:
        """Return when all decoders that are being started take studies.

        Raises:
            OSError: One does not start.
        """
        await asyncio.gather(*self._starts)

    async def read_study(self, study: StudyBytes, order: DecodingOrder, *, on_volume: VolumeListener) -> ReadStudy:
        """Read a study in a decoder, and tell each volume once it is read; cancelling it ends the decoder at once.

        Raises:
            BrainmetsError: As `Decoder.read_study`.
        """
        arena = self._take_arena()
        try:
            read = await self._read(study, arena, order, on_volume)
        except BaseException:
            # A killed process may still write for a moment.
            arena.close()
            raise
        self._give_back(arena)
        return read

    async def _read(
        self, study: StudyBytes, arena: Arena, order: DecodingOrder, on_volume: VolumeListener
    ) -> ReadStudy:
        decoder = await self._claim()
        try:
            read = await decoder.read_study(study, arena, order, on_volume=on_volume)
        except BaseException:
            self._discard(decoder)
            raise
        self._idle.put_nowait(decoder)
        return read

    async def _claim(self) -> Decoder:
        while True:
            decoder = await self._idle.get()
            if decoder.is_alive:
                return decoder
            self._discard(decoder)

    def _take_arena(self) -> Arena:
        for arena in self._arenas:
            if not arena.is_viewed:
                self._arenas.remove(arena)
                return arena
        return Arena(self._limits.memory_bytes)

    def _give_back(self, arena: Arena) -> None:
        # While studies are aligned their arenas are viewed: with one more for each decoder, there is one that is not.
        if arena.kept_bytes > KEPT_BYTES or len(self._arenas) >= 2 * self._count:
            arena.close()
        else:
            self._arenas.append(arena)

    def _discard(self, decoder: Decoder) -> None:
        decoder.kill()
        self._metrics.decoders_discarded.inc()
        self._start_soon(self._replace(decoder))

    def _start_soon(self, start: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(start)
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    async def _replace(self, decoder: Decoder) -> None:
        await decoder.end()
        self._decoders.discard(decoder)
        while True:
            try:
                return await self._add()
            except OSError as error:
                _log.warning("decoder_does_not_start", error=type(error).__name__)
                await asyncio.sleep(RESTART_S)

    async def _add(self) -> None:
        decoder = await Decoder.start(self._reader, self._limits)
        self._decoders.add(decoder)
        self._idle.put_nowait(decoder)

    async def _close(self) -> None:
        for start in self._starts:
            start.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        await asyncio.gather(*(decoder.end() for decoder in self._decoders))
        for arena in self._arenas:
            arena.close()
