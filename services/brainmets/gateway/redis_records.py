"""Owns how records stand in Redis: hashes of bytes <-> the types of `jobs`."""

import json
import zlib
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items

from brainmets.gateway.jobs import (
    ArtifactKind,
    Failure,
    FailureReason,
    Job,
    JobState,
    Progress,
    Stage,
    StoredArtifact,
    Upload,
    UploadedFile,
)
from brainmets.imaging.errors import InternalError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.wire.stored_file import StoredFile

# Some thousand lesions; a result is a few hundred bytes each. Redis must not become a blob store.
MAX_RESULT_BYTES = 1024 * 1024
# Everything of a job but its result and its input, which a listing leaves out: they are by far the largest.
LISTED_FIELDS = (
    "upload_id",
    "revision",
    "state",
    "stage",
    "tiles_done",
    "tiles_total",
    "attempt",
    "create_time_ms",
    "update_time_ms",
    "expire_time_ms",
    "options",
    "input_sha256",
    "artifacts",
    "failure_reason",
    "failure_status",
    "from_cache",
)
# What is kept of each file of an upload, in the order of `read_file` in lua/shared.lua.
_FILE_FIELDS = (b"media_type", b"sequence", b"parts", b"received_bytes", b"sha256")

HashFields = Mapping[bytes, bytes]


def pair_fields(flat: Items[bytes]) -> dict[bytes, bytes]:
    """Return a hash as a script replies it (field, value, field, …) as a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def job_from_fields(tenant: str, job_id: str, fields: HashFields) -> Job:
    """Return the job a hash holds."""
    failure_reason = fields.get(b"failure_reason", b"").decode()
    return Job(
        tenant=tenant,
        job_id=job_id,
        upload_id=fields[b"upload_id"].decode(),
        revision=int(fields[b"revision"]),
        state=JobState(fields[b"state"].decode()),
        progress=Progress(
            stage=Stage(fields[b"stage"].decode()),
            tiles_done=int(fields[b"tiles_done"]),
            tiles_total=int(fields[b"tiles_total"]),
        ),
        attempt=int(fields[b"attempt"]),
        create_time_ms=int(fields[b"create_time_ms"]),
        update_time_ms=int(fields[b"update_time_ms"]),
        expire_time_ms=int(fields[b"expire_time_ms"]),
        options=fields[b"options"],
        input_sha256=fields[b"input_sha256"].decode(),
        files=_files_from_json(fields.get(b"files", b"[]")),
        result=zlib.decompress(fields[b"result"]) if b"result" in fields else b"",
        artifacts=_artifacts_from_json(fields.get(b"artifacts", b"[]")),
        failure=Failure(FailureReason(failure_reason), fields.get(b"failure_status", b"")) if failure_reason else None,
        from_cache=fields.get(b"from_cache") == b"1",
        traceparent=fields.get(b"traceparent", b"").decode(),
    )


def compress_result(result: bytes) -> bytes:
    """Return a result as it is kept in its job's hash.

    Raises:
        InternalError: It is larger than a result can be.
    """
    compressed = zlib.compress(result)
    if len(compressed) > MAX_RESULT_BYTES:
        raise InternalError(
            "The result is too large to be recorded",
            expected=f"at most {MAX_RESULT_BYTES} bytes compressed",
            got=f"{len(compressed)} bytes",
            remedy="raise the threshold or the smallest lesion volume",
        )
    return compressed


def files_to_json(files: tuple[StoredFile, ...]) -> str:
    """Return a job's input as it is kept in its hash."""
    return json.dumps(
        [
            [file.file_index, file.media_type, file.sequence, file.parts, file.sha256.hex(), file.size_bytes]
            for file in files
        ],
        separators=(",", ":"),
    )


def _files_from_json(text: bytes) -> tuple[StoredFile, ...]:
    return tuple(
        StoredFile(
            file_index=file_index,
            media_type=MediaType(media_type),
            sequence=Sequence(sequence) if sequence else None,
            parts=tuple(parts),
            sha256=bytes.fromhex(sha256),
            size_bytes=size_bytes,
        )
        for file_index, media_type, sequence, parts, sha256, size_bytes in json.loads(text)
    )


def artifacts_to_json(artifacts: tuple[StoredArtifact, ...]) -> str:
    """Return a job's artefacts as they are kept in its hash."""
    return json.dumps(
        [
            [artifact.kind, artifact.file_name, artifact.path, artifact.size_bytes, artifact.sha256.hex()]
            for artifact in artifacts
        ],
        separators=(",", ":"),
    )


def _artifacts_from_json(text: bytes) -> tuple[StoredArtifact, ...]:
    return tuple(
        StoredArtifact(
            kind=ArtifactKind(kind),
            file_name=file_name,
            path=path,
            size_bytes=size_bytes,
            sha256=bytes.fromhex(sha256),
        )
        for kind, file_name, path, size_bytes, sha256 in json.loads(text)
    )


def upload_from_fields(tenant: str, upload_id: str, fields: HashFields) -> Upload:
    """Return the upload a hash holds."""
    return Upload(
        tenant=tenant,
        upload_id=upload_id,
        revision=int(fields[b"revision"]),
        expire_time_ms=int(fields[b"expire_time_ms"]),
        files=tuple(_uploaded_files(fields)),
        job_id=fields[b"job_id"].decode(),
    )


def _uploaded_files(fields: HashFields) -> Iterator[UploadedFile]:
    indices = sorted(int(name.split(b":")[0]) for name in fields if name.endswith(b":received_bytes"))
    for index in indices:
        yield uploaded_file_from_values(index, [fields[b"%d:%b" % (index, name)] for name in _FILE_FIELDS])


def uploaded_file_from_values(file_index: int, values: Items[bytes]) -> UploadedFile:
    """Return the file of an upload that a script replies, or a hash holds, as the values of `_FILE_FIELDS`."""
    media_type, sequence, parts, received_bytes, sha256 = values
    return UploadedFile(
        file_index=file_index,
        media_type=MediaType(media_type.decode()),
        sequence=Sequence(sequence.decode()) if sequence else None,
        parts=tuple(parts.decode().splitlines()),
        received_bytes=int(received_bytes),
        sha256=sha256,
    )
