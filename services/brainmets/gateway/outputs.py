"""Owns the result files of an attempt: which there are, and that each is stored before the job is completed."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.jobs import ArtifactKind, StoredArtifact
from brainmets.imaging.errors import DataLossError
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.runtime.tasks import task_group
from brainmets.runtime.tracing import span

FILE_NAMES: Mapping[ArtifactKind, str] = {
    ArtifactKind.MASK_NIFTI: "mask.nii.gz",
    ArtifactKind.PROBABILITY_NIFTI: "probability.nii.gz",
    ArtifactKind.REPORT_JSON: "report.json",
    ArtifactKind.LESIONS_CSV: "lesions.csv",
    ArtifactKind.OVERLAY_PNG: "overlay.png",
}


class OutputFolder:
    """The prefix of the artefact store that one attempt, and no other, writes to."""

    def __init__(self, artifacts: ArtifactStore, prefix: str, *, deadline: Deadline) -> None:
        self._artifacts = artifacts
        self._prefix = prefix
        self._deadline = deadline

    async def write(self, writers: Mapping[ArtifactKind, Callable[[], bytes]]) -> tuple[StoredArtifact, ...]:
        """Run the writers beside each other, each in a thread, and store what they return.

        Raises:
            DependencyUnavailableError: The artefact store stayed unavailable until the deadline.
        """
        async with task_group() as group:
            writes = [group.create_task(self._write_one(kind, writer)) for kind, writer in writers.items()]
        return tuple(write.result() for write in writes)

    async def _write_one(self, kind: ArtifactKind, writer: Callable[[], bytes]) -> StoredArtifact:
        content = await asyncio.to_thread(writer)
        path = self._prefix + FILE_NAMES[kind]
        with span("store", artifact=kind, size_bytes=len(content)):
            await retry_while_unavailable(lambda: self._artifacts.put(path, content), self._deadline)
        return StoredArtifact(kind, FILE_NAMES[kind], path, len(content), hashlib.sha256(content).digest())

    async def copy(self, artifacts: tuple[StoredArtifact, ...]) -> tuple[StoredArtifact, ...]:
        """Copy another job's artefacts here.

        Raises:
            DataLossError: One of them is gone, or changed since it was written.
            DependencyUnavailableError: The artefact store stayed unavailable until the deadline.
        """
        # None goes on after one has failed: what is computed instead goes to the same paths.
        async with task_group() as group:
            copies = [group.create_task(self._copy_one(artifact)) for artifact in artifacts]
        return tuple(copy.result() for copy in copies)

    async def _copy_one(self, artifact: StoredArtifact) -> StoredArtifact:
        path = self._prefix + artifact.file_name
        await retry_while_unavailable(lambda: self._artifacts.copy(artifact.path, path), self._deadline)
        copied = StoredArtifact(artifact.kind, artifact.file_name, path, artifact.size_bytes, artifact.sha256)
        await retry_while_unavailable(lambda: check_digest(self._artifacts, copied), self._deadline)
        return copied


async def check_digest(artifacts: ArtifactStore, artifact: StoredArtifact) -> None:
    """Return when an artefact's bytes are those that were written.

    Raises:
        DataLossError: They are not, or they are gone.
    """
    digest = hashlib.sha256()
    async for piece in artifacts.stream(artifact.path, offset_bytes=0, length_bytes=artifact.size_bytes):
        digest.update(piece)
    if digest.digest() != artifact.sha256:
        raise DataLossError(
            f"{artifact.file_name} changed since it was written",
            expected=artifact.sha256.hex(),
            got=digest.hexdigest(),
            remedy="submit the study again, and tell the operator the job_id",
        )
