"""Job records: what names a study's content, and what makes an upload complete."""

from dataclasses import replace

from brainmets.gateway.jobs import (
    DEFAULT_TENANT,
    JobState,
    NewJob,
    Upload,
    UploadedFile,
    digest_study,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.wire.stored_file import StoredFile


def stored(index: int, digest: bytes, sequence: Sequence | None = Sequence.T1C) -> StoredFile:
    """Return a complete file."""
    return StoredFile(index, MediaType.NIFTI, sequence, (f"uploads/u/{index}/part",), digest * 32, 10)


def uploaded(*, sha256: bytes) -> UploadedFile:
    """Return a file of an upload."""
    return UploadedFile(0, MediaType.NIFTI, Sequence.T1C, ("uploads/u/0/part",), 10, sha256)


def test_three_states_are_final() -> None:
    """A job ends SUCCEEDED, FAILED or CANCELLED."""
    assert {state for state in JobState if state.is_final} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
    }


def test_digest_does_not_depend_on_the_order_of_arrival() -> None:
    """The same files in another order are the same study."""
    first, second = stored(0, b"a"), stored(1, b"b")
    assert digest_study((first, second)) == digest_study((second, first))


def test_digest_tells_bytes_and_sequences_apart() -> None:
    """Other bytes, or the same bytes said to be another sequence, are another study."""
    digests = {
        digest_study((stored(0, b"a"),)),
        digest_study((stored(0, b"b"),)),
        digest_study((stored(0, b"a", Sequence.T1N),)),
        digest_study((stored(0, b"a", None),)),
    }
    assert len(digests) == 4


def test_fingerprint_covers_the_options() -> None:
    """The same bytes with other options are another request."""
    upload = Upload(DEFAULT_TENANT, "u", 1, 0, (uploaded(sha256=b"a" * 32),))
    assert NewJob(upload, "r", b"mean", 1).fingerprint != NewJob(upload, "r", b"nested", 1).fingerprint


def test_fingerprint_covers_the_file_numbers() -> None:
    """A result names them: another numbering of the same bytes is another request."""
    file = uploaded(sha256=b"a" * 32)
    requests = [
        NewJob(Upload(DEFAULT_TENANT, "u", 1, 0, (replace(file, file_index=number),)), "r", b"", 1) for number in (0, 7)
    ]
    assert len({request.input_sha256 for request in requests}) == 1
    assert len({request.fingerprint for request in requests}) == len(requests)


def test_upload_is_complete_when_every_file_is_closed() -> None:
    """No file at all, or an open one, is not a study."""
    closed, open_file = uploaded(sha256=b"a" * 32), uploaded(sha256=b"")
    assert Upload(DEFAULT_TENANT, "u", 1, 0, (closed,)).is_complete
    assert not Upload(DEFAULT_TENANT, "u", 1, 0, (closed, open_file)).is_complete
    assert not Upload(DEFAULT_TENANT, "u", 1, 0).is_complete
