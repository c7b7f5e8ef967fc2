"""The fuzzed gateway's upload store answers as the real one does."""

import random
from collections.abc import Awaitable

import pytest

from brainmets.gateway.jobs import DEFAULT_TENANT, Upload, UploadedFile
from brainmets.gateway.redis_connection import connect_redis
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from fuzzing.upload_service import MAX_STUDY_BYTES, MemoryUploads

SIZES = (1, 60, 300, 900)
Answer = UploadedFile | type[BrainmetsError]


async def answer(call: Awaitable[UploadedFile]) -> Answer:
    """Return what a store answers, or the kind of its refusal."""
    try:
        return await call
    except BrainmetsError as error:
        return type(error)


def change(
    store: MemoryUploads | RedisUploadStore, upload: Upload, *, rng: random.Random, number: int
) -> Awaitable[UploadedFile]:
    """Call one of the three methods that change a file, on one of two files."""
    place = (DEFAULT_TENANT, upload.upload_id)
    file_index, offset_bytes, size_bytes = rng.randrange(2), rng.choice((0, 0, *SIZES)), rng.choice(SIZES)
    match rng.randrange(3):
        case 0:
            return store.open_file(
                *place,
                file_index=file_index,
                media_type=rng.choice(list(MediaType)),
                sequence=rng.choice((None, *Sequence)),
                offset_bytes=offset_bytes,
            )
        case 1:
            path = f"part-{number // 2}"
            return store.advance_file(
                *place, file_index=file_index, offset_bytes=offset_bytes, path=path, size_bytes=size_bytes
            )
        case _:
            digest = bytes([number % 256]) * 32
            # One of the newest, so that some of them are the last one indeed.
            last_part = rng.choice(("", *(f"part-{number // 2 - back}" for back in range(1, 4))))
            return store.close_file(*place, file_index=file_index, last_part=last_part, sha256=digest)


@pytest.mark.parametrize("seed", range(8))
async def test_every_change_is_answered_the_same(seed: int, redis_url: str) -> None:
    """Whatever is opened, appended, repeated, closed or refused before."""
    client = connect_redis(redis_url)
    real = RedisUploadStore(client, upload_lifetime_s=60, max_study_bytes=MAX_STUDY_BYTES)
    stores = (real, MemoryUploads())
    uploads = [await store.create_upload(DEFAULT_TENANT) for store in stores]
    for number in range(60):
        answers = [
            await answer(change(store, upload, rng=_chance(seed, number), number=number))
            for store, upload in zip(stores, uploads, strict=True)
        ]
        assert answers[0] == answers[1]
    await client.aclose()


def _chance(seed: int, number: int) -> random.Random:
    """Return the same chance twice in a row, so that every change is repeated once."""
    return random.Random(f"{seed} {number // 2}")  # noqa: S311 -- chance that is to repeat itself
