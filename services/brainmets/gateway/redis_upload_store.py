"""Owns uploads in Redis: which bytes of which file are stored where, until a job takes them over."""

import uuid
from copy import copy
from typing import Self

import redis.asyncio

from brainmets.gateway.jobs import Erasure, Upload, UploadedFile
from brainmets.gateway.redis_connection import TenantScripts
from brainmets.gateway.redis_records import pair_fields, upload_from_fields, uploaded_file_from_values
from brainmets.gateway.store_refusals import (
    check_identifier,
    file_refused,
    study_too_large,
    too_many_uploads,
    unknown_upload,
    upload_refused,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence


class RedisUploadStore:
    """Keeps the records of uploads; the bytes themselves lie in the artefact store."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        upload_lifetime_s: float,
        max_study_bytes: int,
        max_open_uploads: int = 1000,
    ) -> None:
        self._scripts = TenantScripts(client)
        self.lifetime_s = upload_lifetime_s
        self._max_study_bytes = max_study_bytes
        self._max_open_uploads = max_open_uploads

    def short_lived(self, most_s: float) -> Self:
        """Return this store, where an upload lives for `most_s` at most without being written to."""
        store = copy(self)
        store.lifetime_s = min(self.lifetime_s, most_s)
        return store

    async def create_upload(self, tenant: str) -> Upload:
        """Open an upload.

        Raises:
            OverloadedError: Too many are open.
        """
        upload_id = uuid.uuid4().hex
        word, found = await self._scripts.run(
            "create_upload", tenant, upload_id, self._lifetime_ms, self._max_open_uploads
        )
        if word == b"overloaded":
            raise too_many_uploads(found, most=self._max_open_uploads)
        return upload_from_fields(tenant, upload_id, pair_fields(found))

    async def read_upload(self, tenant: str, upload_id: str) -> Upload:
        """Return an upload; one that was submitted can be read for as long as its job.

        Raises:
            UnknownUploadError: It does not exist or has expired.
        """
        check_identifier(upload_id, unknown_upload)
        fields = await self._scripts.read_hash(tenant, "upload", upload_id)
        if not fields:
            raise unknown_upload()
        return upload_from_fields(tenant, upload_id, fields)

    async def renew_upload(self, tenant: str, upload_id: str) -> None:
        """Let an upload live as long as if something had been written to it.

        Raises:
            UnknownUploadError: It does not exist or has expired.
            InvalidJobStateError: It was submitted.
        """
        check_identifier(upload_id, unknown_upload)
        (word,) = await self._scripts.run("renew_upload", tenant, upload_id, self._lifetime_ms)
        if word != b"open":
            raise upload_refused(word)

    async def open_file(
        self,
        tenant: str,
        upload_id: str,
        *,
        file_index: int,
        media_type: MediaType,
        sequence: Sequence | None,
        offset_bytes: int,
    ) -> UploadedFile:
        """Open a file to go on at `offset_bytes`; 0 drops what was received of it and starts afresh.

        Raises:
            UnknownUploadError: The upload does not exist or has expired.
            InvalidJobStateError: The upload was submitted.
            UploadOffsetError: `offset_bytes` is neither 0 nor what was received.
        """
        return await self._change_file(
            "open_file", tenant, upload_id, file_index, media_type, sequence or "", offset_bytes
        )

    async def advance_file(
        self, tenant: str, upload_id: str, *, file_index: int, offset_bytes: int, path: str, size_bytes: int
    ) -> UploadedFile:
        """Append a part that already lies durably at `path`, a path no other part ever has.

        Repeating it changes nothing. Of two writers at the same offset one wins.

        Raises:
            UnknownUploadError: The upload does not exist or has expired.
            InvalidJobStateError: The upload was submitted.
            InvalidArgumentError: The file was not opened.
            UploadOffsetError: The part does not begin where the file ends.
            StudyTooLargeError: The upload would hold more than a study may.
        """
        return await self._change_file(
            "advance_file",
            tenant,
            upload_id,
            file_index,
            offset_bytes,
            path,
            size_bytes,
            self._max_study_bytes,
        )

    async def close_file(
        self, tenant: str, upload_id: str, *, file_index: int, last_part: str, sha256: bytes
    ) -> UploadedFile:
        """Close a file whose parts end with that at `last_part`, "" for none, and have this SHA-256 (32 bytes).

        Raises:
            UnknownUploadError: The upload does not exist or has expired.
            InvalidJobStateError: The upload was submitted.
            InvalidArgumentError: The file was not opened.
            UploadOffsetError: The file ends otherwise: another writer has it.
        """
        return await self._change_file("close_file", tenant, upload_id, file_index, last_part, sha256)

    async def delete_upload(self, tenant: str, upload_id: str) -> tuple[Erasure, ...]:
        """Forget an upload that was not submitted; return what to erase in the artefact store.

        Raises:
            UnknownUploadError: The upload does not exist or has expired.
            InvalidJobStateError: The upload was submitted; delete its job.
        """
        check_identifier(upload_id, unknown_upload)
        word, *rest = await self._scripts.run("delete_upload", tenant, upload_id)
        if word != b"erased":
            raise upload_refused(word)
        return tuple(Erasure(prefix.decode(), due_ms) for prefix, due_ms in rest[0])

    @property
    def _lifetime_ms(self) -> int:
        return round(self.lifetime_s * 1000)

    async def _change_file(
        self, script: str, tenant: str, upload_id: str, file_index: int, *args: str | bytes | int
    ) -> UploadedFile:
        check_identifier(upload_id, unknown_upload)
        word, *rest = await self._scripts.run(script, tenant, upload_id, self._lifetime_ms, file_index, *args)
        if word == b"too_large":
            raise study_too_large(rest[0], most_bytes=self._max_study_bytes, file_index=file_index)
        if word != b"open":
            raise file_refused(word, received_bytes=rest[0] if rest else 0, file_index=file_index)
        return uploaded_file_from_values(file_index, rest[0])
