"""Owns what studies share while they are prepared: their store, threads and stage clocks."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.errors import DataLossError
from brainmets.imaging.volume import Volume
from brainmets.preprocessing.study_files import StoredFile
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.metrics import PreprocessingMetrics

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Workshop:
    """Reads files and runs steps, in a bounded number of threads.

    A thread cannot be stopped, so a cancelled study ends after the step it is in, and none of its steps that
    still wait for a thread begins.
    """

    def __init__(self, artifacts: ArtifactStore, threads: ThreadPoolExecutor, metrics: PreprocessingMetrics) -> None:
        self._artifacts = artifacts
        self._threads = threads
        self._metrics = metrics

    async def run(
        self, stage: str, step: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        """Run one step in a thread, as part of a stage of the metrics contract."""

        def measured() -> Answer:
            with self._metrics.measure_stage(stage):
                return step(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, measured)

    async def read_volume(self, file: StoredFile) -> Volume:
        """Read a file from the store, check that it is what was sent, and decode it.

        Raises:
            DataLossError: A part is missing, or the bytes are not those that were sent.
            StudyError: The file cannot be read or used.
        """
        content = await self._fetch(file)
        await self.run("fetch", _check_digest, content, file=file)
        return await self.run("decode", read_nifti, content, file_index=file.file_index)

    async def _fetch(self, file: StoredFile) -> bytes:
        parts = [await self._artifacts.read(path) for path in file.parts]
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        self._metrics.read_bytes.inc(len(content))
        return content


def _check_digest(content: bytes, *, file: StoredFile) -> None:
    digest = hashlib.sha256(content).digest()
    if digest != file.sha256:
        raise DataLossError(
            "A stored file changed since it was sent",
            expected=f"SHA-256 {file.sha256.hex()}",
            got=digest.hex(),
            remedy="upload the study again, and tell the operator",
            file_index=file.file_index,
        )
