"""What of a study's preparation goes on while its files are still being read, and when it is refused."""

import asyncio
import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import EmptyVolumeError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.preprocessing.decoder_pool import DecoderPool
from brainmets.preprocessing.decoding_messages import DecodingLimits
from brainmets.preprocessing.preparation import prepare_study
from brainmets.preprocessing.study_files import StudyOrder
from brainmets.preprocessing.workshop import Workshop
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.runtime.metrics import PreprocessingMetrics
from brainmets.wire.stored_file import StoredFile
from brainmets.wire.tiles import contract_from_proto
from preparation_bench import CONTRACT, head_voxels, nifti_bytes
from scripted_reader import READER

LIMITS = DecodingLimits(time_s=60.0, memory_bytes=128 * 1024**2)


async def store(
    artifacts: ArtifactStore,
    content: bytes,
    file_index: int,
    *,
    media_type: MediaType = MediaType.DICOM,
    sequence: Sequence | None = None,
) -> StoredFile:
    """Store a file of a study."""
    await artifacts.put(f"file/{file_index}", content)
    digest = hashlib.sha256(content).digest()
    return StoredFile(file_index, media_type, sequence, (f"file/{file_index}",), digest, len(content))


async def test_the_head_is_outlined_while_other_sequences_are_read(tmp_path: Path) -> None:
    """Here they are read for ever."""
    registry = CollectorRegistry()
    metrics, artifacts = PreprocessingMetrics(registry), ArtifactStore.open(tmp_path.as_uri())
    files = tuple([await store(artifacts, content, index) for index, content in enumerate((b"2.5", b"loop"))])
    order = StudyOrder(job_id="job", files=files, contract=contract_from_proto(CONTRACT), selections=(), force=False)

    def stages(stage: str) -> float:
        name = "brainmets_preprocessing_stage_duration_seconds_count"
        return registry.get_sample_value(name, {"stage": stage}) or 0.0

    with ThreadPoolExecutor(2) as threads:
        async with DecoderPool.open(1, LIMITS, metrics, reader=READER) as decoders:
            workshop = Workshop(artifacts, decoders, threads, metrics, load_brain_network())
            preparing = asyncio.create_task(prepare_study(order, workshop, max_study_bytes=1024))
            async with asyncio.timeout(LIMITS.time_s / 2):
                while not stages("outline"):  # noqa: ASYNC110 -- a metric
                    await asyncio.sleep(0.01)
            preparing.cancel()
            # One value everywhere is no head.
            with contextlib.suppress(asyncio.CancelledError, EmptyVolumeError):
                await preparing


async def test_nothing_goes_on_once_a_study_is_refused(tmp_path: Path) -> None:
    """Here the T1n shows nothing, while the midline of the head is being searched."""
    metrics, artifacts = PreprocessingMetrics(CollectorRegistry()), ArtifactStore.open(tmp_path.as_uri())
    voxels = head_voxels()
    flat = np.ones_like(voxels)
    flat[0, 0, 0] = 2.0
    files = tuple(
        [
            await store(artifacts, nifti_bytes(each), index, media_type=MediaType.NIFTI, sequence=sequence)
            for index, (sequence, each) in enumerate({Sequence.T1C: voxels, Sequence.T1N: flat}.items())
        ]
    )
    order = StudyOrder(job_id="job", files=files, contract=contract_from_proto(CONTRACT))
    with ThreadPoolExecutor(2) as threads:
        async with DecoderPool.open(1, LIMITS, metrics) as decoders:
            workshop = Workshop(artifacts, decoders, threads, metrics, load_brain_network())
            await workshop.wait_until_ready()
            before = asyncio.all_tasks()
            with pytest.raises(EmptyVolumeError):
                await prepare_study(order, workshop, max_study_bytes=10_000_000)
            assert asyncio.all_tasks() == before
