"""Owns small heads as files, and a running preprocessing service to send them to."""

import gzip
import hashlib
from collections.abc import Iterable

import nibabel
import numpy as np
from prometheus_client import CollectorRegistry

from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import job_pb2, study_pb2

# A head of few voxels that is as large as a head.
VOXEL_MM = 2.0
CONTRACT = messages.TileContract(
    sequences=[
        study_pb2.SEQUENCE_T1C,
        study_pb2.SEQUENCE_T1N,
        study_pb2.SEQUENCE_T2W,
        study_pb2.SEQUENCE_T2F,
    ],
    spacing_mm=VOXEL_MM,
    depth=16,
    halo=2,
    stride=16,
    max_size=256,
    overlap_fraction=0.125,
)


def head_voxels(shape: tuple[int, int, int] = (64, 60, 48), seed: int = 0) -> np.ndarray:
    """Return an ellipsoid with texture on exact zero, float32, in NIfTI's order (x, y, z)."""
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, size) for size in shape), indexing="ij")
    texture = np.random.default_rng(seed).normal(500.0, 60.0, shape)
    return np.where(sum(axis**2 for axis in axes) <= 1.0, np.maximum(texture, 1.0), 0.0).astype(np.float32)


def nifti_bytes(voxels: np.ndarray, *, shift_mm: float = 0.0, spacing_mm: float = VOXEL_MM) -> bytes:
    """Return a compressed NIfTI-1 file, RAS, `shift_mm` away from the origin along x."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[0, 3] = shift_mm
    return gzip.compress(nibabel.Nifti1Image(voxels, affine).to_bytes(), 1)


class PreparationBench:
    """A running service, the store it reads, and what it counted."""

    def __init__(
        self,
        stub: preprocessing_service_pb2_grpc.PreprocessingServiceStub,
        artifacts: ArtifactStore,
        registry: CollectorRegistry,
    ) -> None:
        self.stub, self.artifacts, self.registry = stub, artifacts, registry
        self._files = 0

    async def store(
        self,
        content: bytes,
        *,
        file_index: int = 0,
        sequence: str = "UNSPECIFIED",
        media_type: str = "NIFTI",
        parts: int = 1,
    ) -> messages.StoredFile:
        """Store a file in some parts and return how a request names it."""
        self._files += 1
        size = -(-len(content) // parts) or 1
        paths = []
        for part in range(parts):
            paths.append(f"uploads/{self._files}/{file_index}/{part}")
            await self.artifacts.put(paths[-1], content[part * size : (part + 1) * size])
        return messages.StoredFile(
            file_index=file_index,
            media_type=study_pb2.MediaType.Value(f"MEDIA_TYPE_{media_type}"),
            sequence=study_pb2.Sequence.Value(f"SEQUENCE_{sequence}"),
            parts=paths,
            sha256=hashlib.sha256(content).digest(),
            size_bytes=len(content),
        )

    async def prepare(
        self, *files: messages.StoredFile, force: bool = False, series: Iterable[job_pb2.SeriesSelection] = ()
    ) -> list[messages.PrepareStudyResponse]:
        """Return everything that is streamed for a study.

        Raises:
            BrainmetsError: What the service raised.
        """
        request = messages.PrepareStudyRequest(job_id="job", files=files, contract=CONTRACT, force=force, series=series)
        with rpc_errors():
            return [response async for response in self.stub.PrepareStudy(request)]

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.registry.get_sample_value(f"brainmets_preprocessing_{name}", labels) or 0.0
