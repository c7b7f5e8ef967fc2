"""PrepareStudy over a real socket: what is streamed, what is refused and how, and when work stops."""

import asyncio
import gzip
from collections.abc import Callable

import nibabel
import numpy as np
import pytest

from brainmets.imaging.errors import (
    BrainmetsError,
    DataLossError,
    DeadlineExceededError,
    EmptyVolumeError,
    InvalidArgumentError,
    MalformedFileError,
    MissingT1cError,
    OverloadedError,
    SequencesDoNotOverlapError,
    StudyTooLargeError,
    UnsupportedDimensionsError,
    UnsupportedFormatError,
)
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import result_pb2, study_pb2
from preparation_bench import PreparationBench, head_voxels, nifti_bytes

Head = Callable[..., bytes]
FLOAT16_BYTES = 2


def header_of(responses: list[messages.PrepareStudyResponse]) -> messages.StudyHeader:
    """Return the header, which comes first."""
    assert responses[0].WhichOneof("payload") == "header"
    return responses[0].header


async def refusal(bench: PreparationBench, *files: messages.StoredFile) -> BrainmetsError:
    """Return the error that a study is answered with."""
    with pytest.raises(BrainmetsError) as caught:
        await bench.prepare(*files)
    return caught.value


async def test_a_lone_file_is_the_t1c(bench: PreparationBench, head: Head) -> None:
    """A study of one file that states nothing has a T1c."""
    header = header_of(await bench.prepare(await bench.store(head(), file_index=7)))
    assert list(header.sequences) == [study_pb2.SEQUENCE_T1C]
    assert header.t1c_file_index == 7


async def test_channels_come_in_the_contracts_order(bench: PreparationBench, head: Head) -> None:
    """Whatever the order of the files, the network knows which channel is which."""
    files = [
        await bench.store(head(seed=1), file_index=0, sequence="T2F"),
        await bench.store(head(seed=2), file_index=1, sequence="T1C"),
    ]
    header = header_of(await bench.prepare(*files))
    assert list(header.sequences) == [study_pb2.SEQUENCE_T1C, study_pb2.SEQUENCE_T2F]


async def test_a_sequence_of_a_rim_of_the_brain_is_no_channel(bench: PreparationBench) -> None:
    """It would be an empty one that the result calls used; the reader is told."""
    rim = head_voxels(seed=1)
    rim[:, :, 8:] = 0.0
    files = [
        await bench.store(nifti_bytes(head_voxels()), file_index=0, sequence="T1C"),
        await bench.store(nifti_bytes(rim), file_index=1, sequence="T2F"),
    ]
    header = header_of(await bench.prepare(*files))
    assert list(header.sequences) == [study_pb2.SEQUENCE_T1C]
    told = [(finding.code, finding.sequence) for finding in header.findings if finding.sequence]
    assert (result_pb2.FINDING_CODE_SEQUENCE_DROPPED, study_pb2.SEQUENCE_T2F) in told
    assert [(series.used, series.reason) for series in header.series] == [
        (True, result_pb2.SERIES_REASON_CHOSEN),
        (False, result_pb2.SERIES_REASON_LEFT_OUT),
    ]


async def test_every_planned_tile_is_sent_once_and_in_order(bench: PreparationBench, head: Head) -> None:
    """The header's origins and the tiles that follow are the same in number and order."""
    header, *tiles = await bench.prepare(await bench.store(head()))
    assert [tile.tile.index for tile in tiles] == list(range(len(header.header.origins) // 3))
    assert tiles


async def test_the_acquired_grid_is_the_files(bench: PreparationBench, head: Head) -> None:
    """The mask can be brought back onto the voxels that were sent."""
    header = header_of(await bench.prepare(await bench.store(head(spacing_mm=1.75))))
    assert sorted(header.acquired.shape) == [48, 60, 64]
    affine = np.array(header.acquired.affine_lps).reshape(4, 4)
    assert np.isclose(abs(np.linalg.det(affine[:3, :3])), 1.75**3)
    assert list(header.t1c_forms.pixdim[1:]) == [1.75] * 3


async def test_a_file_in_parts_is_one_file(bench: PreparationBench, head: Head) -> None:
    """An upload that was resumed gives the same tiles as one that was not."""
    whole = await bench.prepare(await bench.store(head()))
    assert await bench.prepare(await bench.store(head(), parts=3)) == whole


async def test_the_wire_carries_little_more_than_the_head(bench: PreparationBench) -> None:
    """Halos and rounding cost at most 30 % of the cropped float16 volume."""
    sequences = ("T1C", "T1N", "T2W", "T2F")
    # Slabs as deep as the contract allows: halos weigh more on thinner ones.
    heads = [nifti_bytes(head_voxels((64, 60, 77), seed=index)) for index in range(len(sequences))]
    files = [
        await bench.store(content, file_index=index, sequence=sequence)
        for index, (content, sequence) in enumerate(zip(heads, sequences, strict=True))
    ]
    header, *tiles = await bench.prepare(*files)
    volume_bytes = len(sequences) * np.prod(header.header.normalized.shape) * FLOAT16_BYTES
    assert sum(response.ByteSize() for response in tiles) <= 1.3 * volume_bytes


async def test_bytes_that_are_no_nifti_are_refused(bench: PreparationBench, head: Head) -> None:
    """The error names the file, also when another one is fine."""
    files = [
        await bench.store(head(), file_index=0, sequence="T1C"),
        await bench.store(b"PK\x03\x04" + bytes(400), file_index=5, sequence="T2F"),
    ]
    error = await refusal(bench, *files)
    assert isinstance(error, MalformedFileError | UnsupportedFormatError)
    assert error.file_index == 5


async def test_a_truncated_file_is_refused(bench: PreparationBench, head: Head) -> None:
    """Half a gzip stream is not half a study."""
    error = await refusal(bench, await bench.store(head()[:5000], file_index=3))
    assert isinstance(error, MalformedFileError)
    assert error.file_index == 3


async def test_a_time_series_is_refused(bench: PreparationBench) -> None:
    """Four dimensions are no sequence."""
    image = nibabel.Nifti1Image(np.ones((8, 8, 8, 2), dtype=np.float32), np.eye(4))
    error = await refusal(bench, await bench.store(gzip.compress(image.to_bytes())))
    assert isinstance(error, UnsupportedDimensionsError)
    assert error.file_index == 0


async def test_an_empty_volume_is_refused(bench: PreparationBench) -> None:
    """All-zero voxels are a failed export, not a head without metastases."""
    image = nibabel.Nifti1Image(np.zeros((16, 16, 16), dtype=np.float32), np.eye(4))
    assert isinstance(await refusal(bench, await bench.store(gzip.compress(image.to_bytes()))), EmptyVolumeError)


async def test_sequences_of_different_places_are_refused(bench: PreparationBench, head: Head) -> None:
    """Two volumes that share no millimetre are not one study."""
    files = [
        await bench.store(head(), file_index=0, sequence="T1C"),
        await bench.store(head(shift_mm=1000.0), file_index=1, sequence="T2F"),
    ]
    error = await refusal(bench, *files)
    assert isinstance(error, SequencesDoNotOverlapError)
    assert error.file_index == 1


async def test_a_study_without_t1c_is_refused(bench: PreparationBench, head: Head) -> None:
    """The networks need it."""
    error = await refusal(bench, await bench.store(head(), sequence="T2F"))
    assert isinstance(error, MissingT1cError)
    assert "t2f" in error.got


async def test_a_study_without_files_is_refused(bench: PreparationBench) -> None:
    """Nothing is not a study either."""
    assert isinstance(await refusal(bench), MissingT1cError)


async def test_an_unstated_sequence_among_several_is_refused(bench: PreparationBench, head: Head) -> None:
    """Nobody guesses which of two files is the T1c."""
    files = [
        await bench.store(head(), file_index=0, sequence="T1C"),
        await bench.store(head(), file_index=4),
    ]
    error = await refusal(bench, *files)
    assert isinstance(error, InvalidArgumentError)
    assert error.file_index == 4


async def test_the_same_sequence_twice_is_refused(bench: PreparationBench, head: Head) -> None:
    """The second one is named."""
    files = [await bench.store(head(), file_index=index, sequence="T1C") for index in (2, 3)]
    error = await refusal(bench, *files)
    assert isinstance(error, InvalidArgumentError)
    assert error.file_index == 3


async def test_an_unstated_media_type_is_refused(bench: PreparationBench, head: Head) -> None:
    """The contract says so."""
    file = await bench.store(head())
    file.media_type = study_pb2.MEDIA_TYPE_UNSPECIFIED
    assert isinstance(await refusal(bench, file), UnsupportedFormatError)


async def test_a_study_too_large_is_refused_unread(bench: PreparationBench, head: Head) -> None:
    """Sizes are added up before a byte is fetched."""
    file = await bench.store(head())
    file.size_bytes = 9_000_000
    assert isinstance(await refusal(bench, file), StudyTooLargeError)
    assert bench.sample("read_bytes_total") == 0


async def test_a_changed_byte_is_data_loss(bench: PreparationBench, head: Head) -> None:
    """Stored bytes that are not those that were sent never become tiles."""
    file = await bench.store(head())
    file.sha256 = bytes(32)
    error = await refusal(bench, file)
    assert isinstance(error, DataLossError)
    assert error.file_index == 0


async def test_a_missing_part_is_data_loss(bench: PreparationBench, head: Head) -> None:
    """A file that was erased is told as such."""
    file = await bench.store(head())
    file.parts[0] = "uploads/elsewhere/0"
    assert isinstance(await refusal(bench, file), DataLossError)


async def test_a_refusal_is_counted_by_its_reason(bench: PreparationBench) -> None:
    """Operators see what studies fail of."""
    await refusal(bench, await bench.store(b"no head" * 100))
    failures = [
        bench.sample("failures_total", reason=kind.reason) for kind in (MalformedFileError, UnsupportedFormatError)
    ]
    assert sum(failures) == 1


async def test_a_sent_study_is_counted(bench: PreparationBench, head: Head) -> None:
    """Tiles, bytes in and bytes out are those of the study, and nothing is left under way."""
    content = head()
    _, *tiles = await bench.prepare(await bench.store(content))
    assert bench.sample("tiles_total") == len(tiles)
    assert bench.sample("read_bytes_total") == len(content)
    assert bench.sample("sent_bytes_total") == sum(len(tile.tile.voxels) for tile in tiles)
    assert bench.sample("studies_active") == 0
    for stage in ("fetch", "decode", "place", "align", "outline", "normalize", "midline", "assess", "plan"):
        assert bench.sample("stage_duration_seconds_count", stage=stage) == 1


async def test_two_studies_at_once_do_not_mix(bench: PreparationBench, head: Head) -> None:
    """Each caller gets the tiles of its own study."""
    files = [await bench.store(head(seed=seed)) for seed in (1, 2)]
    alone = [await bench.prepare(file) for file in files]
    assert await asyncio.gather(*(bench.prepare(file) for file in files)) == alone
    assert alone[0] != alone[1]


async def test_one_study_too_many_is_told_to_come_back(bench: PreparationBench, head: Head) -> None:
    """Memory is bounded: the third of two places is refused at once, with a delay."""
    file = await bench.store(head())
    answers = await asyncio.gather(*(bench.prepare(file) for _ in range(3)), return_exceptions=True)
    (refused,) = [answer for answer in answers if isinstance(answer, BaseException)]
    assert isinstance(refused, OverloadedError)
    assert refused.retry_after_s > 0


async def test_a_place_is_free_again_after_a_refusal(bench: PreparationBench, head: Head) -> None:
    """Bad studies do not use the service up."""
    for _ in range(4):
        await refusal(bench, await bench.store(b"no head" * 100))
    assert len(await bench.prepare(await bench.store(head()))) > 1


def finely_cut(file: messages.StoredFile) -> messages.PrepareStudyRequest:
    """Return a request whose answer has hundreds of tiles."""
    contract = messages.TileContract(
        sequences=[study_pb2.SEQUENCE_T1C], spacing_mm=1.0, depth=1, halo=0, stride=16, max_size=256
    )
    return messages.PrepareStudyRequest(job_id="job", files=[file], contract=contract)


async def wait_until_idle(bench: PreparationBench) -> None:
    """Return once no study is under way."""
    async with asyncio.timeout(10.0):
        while bench.sample("studies_active"):  # noqa: ASYNC110 -- what is waited for is a number
            await asyncio.sleep(0.01)


async def test_cancelling_stops_the_work(bench: PreparationBench, head: Head) -> None:
    """After the caller has left, no more tiles are cut than were under way."""
    call = bench.stub.PrepareStudy(finely_cut(await bench.store(head())))
    await call.read()
    call.cancel()
    await wait_until_idle(bench)
    cut = bench.sample("stage_duration_seconds_count", stage="stream")
    await asyncio.sleep(0.2)
    assert bench.sample("stage_duration_seconds_count", stage="stream") <= cut + 2
    assert cut < 30
    assert bench.sample("rpcs_total", method="PrepareStudy", code="CANCELLED") == 1


async def test_a_deadline_reaches_the_service(bench: PreparationBench, head: Head) -> None:
    """A caller who waits no longer leaves no work behind."""
    request = finely_cut(await bench.store(head()))
    with pytest.raises(DeadlineExceededError), rpc_errors():
        async for _ in bench.stub.PrepareStudy(request, timeout=0.02):
            pass
    await wait_until_idle(bench)
