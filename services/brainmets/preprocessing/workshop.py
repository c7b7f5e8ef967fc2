"""Owns what studies share while they are prepared: their store, decoders, threads, stage clocks and brain network."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from brainmets.formats.study_reader import ReadStudy, VolumeListener
from brainmets.imaging.brain_network import BrainNetwork
from brainmets.preprocessing.decoder_pool import DecoderPool
from brainmets.preprocessing.decoding_messages import DecodingOrder, FileSpan
from brainmets.preprocessing.shared_memory import StudyBytes
from brainmets.preprocessing.study_fetch import fetch_files, file_offsets
from brainmets.preprocessing.study_files import StudyOrder
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.metrics import PreprocessingMetrics
from brainmets.runtime.tracing import span

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Workshop:
    """Reads studies and runs steps, in a bounded number of decoders and threads.

    A thread cannot be stopped, so a cancelled study ends after the step it is in, and none of its steps that
    still wait for a thread begins. A decoder is stopped at once.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        decoders: DecoderPool,
        threads: Executor,
        metrics: PreprocessingMetrics,
        brain_network: BrainNetwork,
    ) -> None:
        self.brain_network = brain_network
        self._artifacts = artifacts
        self._decoders = decoders
        self._threads = threads
        self._metrics = metrics

    async def wait_until_ready(self) -> None:
        """Return when studies can be decoded.

        Raises:
            OSError: The decoders do not start.
        """
        await self._decoders.wait_until_ready()

    async def run(
        self, stage: str, step: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        """Run one step in a thread, as part of a stage of the metrics contract."""

        def measured() -> Answer:
            with self._metrics.measure_stage(stage):
                return step(*args, **kwargs)

        with span(stage):
            return await asyncio.get_running_loop().run_in_executor(self._threads, measured)

    async def read_study(self, order: StudyOrder, *, on_volume: VolumeListener) -> ReadStudy:
        """Fetch a study's files, check that they are what was sent, and have them decoded, one volume after the other.

        Raises:
            DataLossError: A part is missing, or the bytes are not those that were sent.
            StudyError: The study cannot be read or used.
            RequestError: It is not clear what its files hold.
        """
        *offsets, size_bytes = file_offsets(order.files)
        with StudyBytes(size_bytes) as study:
            with span("fetch", files=len(order.files), size_bytes=size_bytes), self._metrics.measure_stage("fetch"):
                await fetch_files(order.files, self._artifacts, into=study, threads=self._threads)
            self._metrics.read_bytes.inc(size_bytes)
            with span("decode"), self._metrics.measure_stage("decode"):
                return await self._decoders.read_study(study, _decoding_order(order, offsets), on_volume=on_volume)


def _decoding_order(order: StudyOrder, offsets: list[int]) -> DecodingOrder:
    spans = (
        FileSpan(
            file_index=file.file_index,
            media_type=file.media_type,
            sequence=file.sequence,
            offset_bytes=begin,
            size_bytes=file.size_bytes,
        )
        for file, begin in zip(order.files, offsets, strict=True)
    )
    return DecodingOrder(tuple(spans), order.selections, order.contract.sequences)
