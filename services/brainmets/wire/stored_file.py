"""Owns one file of a study in the artefact store, as gateway and preprocessing speak of it."""

from dataclasses import dataclass

from brainmets.imaging.errors import UnsupportedFormatError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.wire.names import media_type_from_proto, media_type_to_proto, sequence_from_proto, sequence_to_proto


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One complete file of a study in the artefact store.

    Attributes:
        file_index: The client's number of it, named in errors.
        media_type: Encoding it was announced as.
        sequence: What it holds; None when the client left that to the service.
        parts: Paths in the artefact store; joined in this order they are the file.
        sha256: Of the joined parts, 32 bytes.
        size_bytes: Of the joined parts.
    """

    file_index: int
    media_type: MediaType
    sequence: Sequence | None
    parts: tuple[str, ...]
    sha256: bytes
    size_bytes: int


def stored_file_to_proto(file: StoredFile) -> messages.StoredFile:
    """Return the message."""
    return messages.StoredFile(
        file_index=file.file_index,
        media_type=media_type_to_proto(file.media_type),
        sequence=sequence_to_proto(file.sequence),
        parts=file.parts,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
    )


def stored_file_from_proto(message: messages.StoredFile) -> StoredFile:
    """Return the file.

    Raises:
        UnsupportedFormatError: Its media type is none, or of a newer contract.
    """
    media_type = media_type_from_proto(message.media_type)
    if media_type is None:
        raise UnsupportedFormatError(
            "The file's media type is not read",
            expected=", ".join(f"MEDIA_TYPE_{known.name}" for known in MediaType),
            got="another or none",
            remedy="send NIfTI or DICOM, and say so",
            file_index=message.file_index,
        )
    return StoredFile(
        file_index=message.file_index,
        media_type=media_type,
        sequence=sequence_from_proto(message.sequence),
        parts=tuple(message.parts),
        sha256=message.sha256,
        size_bytes=message.size_bytes,
    )
