"""The artefact store keeps files whole and durable, finds them by prefix, and erases them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from brainmets.imaging.errors import DataLossError, DependencyUnavailableError
from brainmets.runtime import artifact_store
from brainmets.runtime.artifact_store import STREAM_CHUNK_BYTES, ArtifactStore

PATTERN = bytes(range(256)) * 5000  # 1.28 MB: more than one piece of a stream


@pytest.fixture(params=["file", "s3", pytest.param("azure", marks=pytest.mark.integration)])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> ArtifactStore:
    """Return an empty store: a folder, a bucket of a real S3 endpoint, and a container of Azure's own emulator."""
    match request.param:
        case "file":
            url = f"file://{tmp_path}/store"
        case "s3":
            url = request.getfixturevalue("s3_bucket")
        case _:
            url = request.getfixturevalue("azure_container")
    return ArtifactStore.open(url)


async def test_what_was_put_is_read(store: ArtifactStore) -> None:
    """A file's bytes and size come back as they were put."""
    await store.put("jobs/a/1/mask.nii.gz", PATTERN)
    assert await store.read("jobs/a/1/mask.nii.gz") == PATTERN
    assert await store.size("jobs/a/1/mask.nii.gz") == len(PATTERN)


async def test_url_may_hold_escaped_characters(tmp_path: Path) -> None:
    """A folder with a space, escaped in the URL, is the folder meant."""
    await ArtifactStore.open(f"file://{tmp_path}/two%20words").put("a", b"x")
    assert (tmp_path / "two words" / "a").read_bytes() == b"x"


S3_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "eu-central-1",
    "AWS_ALLOW_HTTP": "true",
}
CLOUD_VARIABLES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT")


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("az://studies/brainmets", {}),
        ("az://studies/brainmets", {"AZURE_STORAGE_ACCOUNT_NAME": "here", "AZURE_STORAGE_ACCOUNT_KEY": "s3cret!"}),
        ("gs://studies/brainmets", {"GOOGLE_SERVICE_ACCOUNT": "/nowhere/s3cret!.json"}),
        ("gs:///brainmets", {}),
        ("ftp://s3cret!@host/brainmets", {}),
    ],
)
def test_a_store_that_cannot_be_opened_is_told_without_what_was_said(
    url: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No account, a key that is none, no file, no bucket, no kind of store."""
    for name in CLOUD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DependencyUnavailableError, match="credentials") as caught:
        ArtifactStore.open(url)
    assert "s3cret" not in str(caught.value)


def test_a_bucket_of_google_opens_with_the_credentials_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No emulator that can be had speaks the API it is called by: only the opening is tested."""
    account = {"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    ArtifactStore.open("gs://studies/brainmets")


async def test_stored_bytes_survive_reopening(tmp_path: Path) -> None:
    """Another process that opens the URL reads the same file."""
    await ArtifactStore.open(f"file://{tmp_path}").put("a/b", b"bytes")
    assert await ArtifactStore.open(f"file://{tmp_path}").read("a/b") == b"bytes"


@pytest.mark.parametrize(("offset", "length"), [(0, len(PATTERN)), (7, 100), (len(PATTERN) - 1, 1), (5, 0)])
async def test_stream_yields_exactly_the_range(store: ArtifactStore, offset: int, length: int) -> None:
    """A range is streamed whole, in pieces of at most 1 MiB."""
    await store.put("a", PATTERN)
    pieces = [piece async for piece in store.stream("a", offset_bytes=offset, length_bytes=length)]
    assert b"".join(pieces) == PATTERN[offset : offset + length]
    assert all(len(piece) <= STREAM_CHUNK_BYTES for piece in pieces)


async def test_stream_of_a_file_that_ends_early_is_data_loss(store: ArtifactStore) -> None:
    """A file shorter than promised is an error, never a short answer."""
    await store.put("a", b"12345")
    with pytest.raises(DataLossError):
        _ = [piece async for piece in store.stream("a", offset_bytes=0, length_bytes=6)]


async def test_missing_file_is_data_loss(store: ArtifactStore) -> None:
    """Reading, measuring and copying what is not there say so."""
    with pytest.raises(DataLossError):
        await store.read("a")
    with pytest.raises(DataLossError):
        await store.size("a")
    with pytest.raises(DataLossError):
        await store.copy("a", "b")


async def test_copy_leaves_the_source(store: ArtifactStore) -> None:
    """A copy has the same bytes at another path."""
    await store.put("jobs/a/1/x", PATTERN)
    await store.copy("jobs/a/1/x", "jobs/b/1/x")
    assert await store.read("jobs/b/1/x") == await store.read("jobs/a/1/x") == PATTERN


async def test_folders_are_listed_without_what_is_in_them(store: ArtifactStore) -> None:
    """One name for each study, however many files it has; a file is no folder."""
    for path in ("jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/x", "jobs/c", "uploads/a/0/x"):
        await store.put(path, b"x")
    assert await store.list_folders("jobs/") == ("jobs/a/", "jobs/ab/")
    assert await store.list_folders("none/") == ()


async def test_delete_prefix_erases_the_folder_and_nothing_else(store: ArtifactStore) -> None:
    """A prefix ends at a folder's border; erasing again is no error."""
    for path in ("jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/x"):
        await store.put(path, b"x")
    await store.delete_prefix("jobs/a/")
    await store.delete_prefix("jobs/a/")
    assert await store.list_paths("jobs/") == ("jobs/ab/1/x",)


async def test_no_empty_folder_remains(tmp_path: Path) -> None:
    """A prefix of a store in a folder is a folder itself."""
    store = ArtifactStore.open(f"file://{tmp_path}/store")
    await store.put("jobs/a/1/x", b"x")
    await store.delete_prefix("jobs/a/")
    assert not (tmp_path / "store/jobs/a").exists()


async def test_delete_prefix_erases_one_exact_path(store: ArtifactStore) -> None:
    """A path without a trailing slash names the file itself too."""
    await store.put("uploads/u/0/part", b"x")
    await store.delete_prefix("uploads/u/0/part")
    assert await store.list_paths("uploads/") == ()


@pytest.mark.parametrize("prefix", ["uploads/u/", "uploads/u/0/0-a"])
async def test_what_a_killed_writer_left_is_erased(tmp_path: Path, prefix: str) -> None:
    """It lies beside the file under a name that no listing shows, and holds a part of a study."""
    store = ArtifactStore.open(f"file://{tmp_path}/store")
    await store.put("uploads/u/0/0-ab", b"x")
    staged = tmp_path / "store/uploads/u/0/0-a#1"
    staged.write_bytes(b"voxels")
    assert await store.list_paths("uploads/") == ("uploads/u/0/0-ab",)
    await store.delete_prefix(prefix)
    assert not staged.exists()
    assert (tmp_path / "store/uploads/u/0/0-ab").exists() == (not prefix.endswith("/"))


@pytest.mark.parametrize("path", ["../a", "a/../b", "/a", "", "a//b", "a/./b", ".hidden", "a\nb", "a b"])
async def test_only_plain_paths_are_taken(store: ArtifactStore, path: str) -> None:
    """Nothing outside the store's folder can be named."""
    with pytest.raises(ValueError, match="Not a path"):
        await store.put(path, b"x")


async def test_parallel_writers_of_one_path_do_not_mix(store: ArtifactStore) -> None:
    """Whoever comes last, the file is wholly one writer's, also for readers in between."""
    contents = [bytes([value]) * 200_000 for value in range(8)]

    async def read_often() -> None:
        for _ in range(20):
            assert await store.read("a") in contents

    await store.put("a", contents[0])
    await asyncio.gather(read_often(), *(store.put("a", content) for content in contents))
    assert await store.read("a") in contents


async def test_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A URL that points below a file cannot become a store."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DependencyUnavailableError):
        ArtifactStore.open(f"file://{tmp_path}/file/store")


Asked = list[asyncio.Task[None] | None]


@asynccontextmanager
async def cloud(monkeypatch: pytest.MonkeyPatch, *, answer: bytes) -> AsyncIterator[tuple[ArtifactStore, Asked]]:
    """Yield a bucket of a cloud that answers everything so, with nothing: not at all; and what it was asked."""
    asked: Asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name, value in {**S3_VARIABLES, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield ArtifactStore.open("s3://studies/brainmets"), asked
        await asyncio.wait_for(asyncio.gather(*filter(None, asked)), 10.0)


async def test_a_cloud_that_never_answers_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that waits for it would keep a process from stopping."""
    monkeypatch.setattr(artifact_store, "PUT_TIMEOUT_S", 0.2)
    async with cloud(monkeypatch, answer=b"") as (store, _):
        with pytest.raises(DependencyUnavailableError):
            await asyncio.wait_for(store.put("a", b"x"), 10.0)


async def test_a_cloud_that_fails_is_not_asked_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a file hears of it."""
    monkeypatch.setattr(artifact_store, "RETRY_TIMEOUT_S", 0.0)
    refusal = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with cloud(monkeypatch, answer=refusal) as (store, asked):
        with pytest.raises(DependencyUnavailableError):
            await store.read("a")
        assert len(asked) == 1
