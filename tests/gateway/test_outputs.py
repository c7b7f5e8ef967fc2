"""Result files are stored together, or none of them goes on once one has failed."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.jobs import ArtifactKind, StoredArtifact
from brainmets.gateway.outputs import FILE_NAMES, OutputFolder
from brainmets.imaging.errors import DataLossError
from brainmets.runtime.artifact_store import ArtifactStore

MASK, REPORT = ArtifactKind.MASK_NIFTI, ArtifactKind.REPORT_JSON
OLD, NEW = b"another study's mask", b"this study's mask"


class LateStore(ArtifactStore):
    """The artefact store, in which a mask is copied late."""

    async def copy(self, source: str, target: str) -> None:
        """Copy a file, a mask after a while."""
        if target.endswith(FILE_NAMES[MASK]):
            await asyncio.sleep(0.5)
        await super().copy(source, target)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """A store in a folder."""
    return LateStore.open(tmp_path.as_uri())


@pytest.fixture
def output(store: ArtifactStore) -> OutputFolder:
    """An attempt's prefix."""
    return OutputFolder(store, "jobs/new/1/", deadline=Deadline.after(60.0))


async def stored(store: ArtifactStore, kind: ArtifactKind, content: bytes, *, promised: bytes) -> StoredArtifact:
    """Store another job's file, of which these bytes are promised."""
    path = f"jobs/old/1/{FILE_NAMES[kind]}"
    await store.put(path, content)
    return StoredArtifact(kind, FILE_NAMES[kind], path, len(promised), hashlib.sha256(promised).digest())


async def test_no_late_copy_overwrites_what_is_written_after_a_failed_one(
    store: ArtifactStore, output: OutputFolder
) -> None:
    """A result that was cached and is damaged is computed anew, into the same files."""
    mask = await stored(store, MASK, OLD, promised=OLD)
    report = await stored(store, REPORT, b"damaged", promised=b"another")
    with pytest.raises(DataLossError):
        await output.copy((mask, report))
    (written,) = await output.write({MASK: lambda: NEW})
    await asyncio.sleep(1.0)
    assert await store.read(written.path) == NEW


async def test_files_are_told_in_the_order_in_which_they_were_asked_for(output: OutputFolder) -> None:
    """Whichever is stored first."""
    written = await output.write({REPORT: lambda: b"{}", MASK: lambda: NEW})
    assert [artifact.kind for artifact in written] == [REPORT, MASK]
    assert [artifact.sha256 for artifact in written] == [hashlib.sha256(each).digest() for each in (b"{}", NEW)]
