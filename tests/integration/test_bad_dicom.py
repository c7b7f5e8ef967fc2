"""Bad DICOM answers the right status with details, in bounded time and memory, and the next study succeeds."""

import itertools
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from brainmets.client import JobState, Segmentation, SegmentationOptions, ServiceError
from brainmets.client.study_files import FileFormat, StudyFile
from brainmets.imaging.errors import BrainmetsError, StudyTooLargeError, UnsupportedFormatError
from brainmets.imaging.media_type import MediaType
from brainmets.runtime.grpc_errors import STATUS_CODES
from dicom_cases import small_volume, write_series, write_zip
from dicom_faults import FAULTS, IDENTITY
from heads import head_geometry, head_on
from imaging_cases import AXIAL
from integration.running_stack import RunningStack

MIB = 1024 * 1024
LONGEST_S = 20.0
MOST_BYTES = 1024 * MIB
FORMATS = {MediaType.DICOM: FileFormat.DICOM, MediaType.DICOM_ZIP: FileFormat.DICOM_ZIP}
# The rows; tests/formats has more of each.
NAMES = (
    "a slice is missing",
    "a slice is doubled",
    "uneven slices",
    "no position",
    "no pixels",
    "pixels short",
    "pixels long",
    "deflated bomb in an element",
    "deflated bomb in the pixels",
    "nested 500 deep",
    "an archive of archives",
    "no StudyInstanceUID",
    "one SOPInstanceUID for all",
    "two patients",
    "two studies",
    "private elements only",
    "a picture",
    "larger than its pixels",
)


def archives() -> dict[str, tuple[bytes, type[BrainmetsError]]]:
    """Return archives with a fault of the archive's own."""
    computed = write_series(small_volume(), attributes={"Modality": "CT"})
    return {
        "zip bomb": (write_zip([bytes(400 * MIB)], compression=zipfile.ZIP_DEFLATED), StudyTooLargeError),
        "no MR": (write_zip(computed), UnsupportedFormatError),
    }


def head_instances() -> tuple[bytes, ...]:
    """Return a sound study of a head, never the same twice."""
    head = head_on(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0)), noise=1.0)
    return write_series(head, attributes={"SeriesNumber": time.monotonic_ns() % 2**31})


def segment(stack: RunningStack, files: tuple[StudyFile, ...]) -> Segmentation:
    """Segment files with the quicker network."""
    with stack.client() as client:
        return client.segment(files, SegmentationOptions(model="attention_unet", force=True))


def stored(folder: Path, *contents: bytes, file_format: FileFormat = FileFormat.DICOM) -> tuple[StudyFile, ...]:
    """Return files on disk as what is sent."""
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return tuple(StudyFile(path, None, file_format) for path in paths)


@contextmanager
def peak_memory(stack: RunningStack) -> Iterator[list[int]]:
    """Yield a list that at the end holds by how much preprocessing with its children grew at most, bytes."""
    preprocessing = psutil.Process(stack.pid("preprocessing"))
    before, peak, ended = _resident_bytes(preprocessing), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], _resident_bytes(preprocessing) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _resident_bytes(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def check_refused(
    stack: RunningStack, files: tuple[StudyFile, ...], kind: type[BrainmetsError], *, longest_s: float = LONGEST_S
) -> None:
    """Hold that a study is refused as it should be, without a word of the patient's."""
    with peak_memory(stack) as peak:
        began_s = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            segment(stack, files)
        assert time.monotonic() - began_s < longest_s
    assert (caught.value.reason, caught.value.code) == (kind.reason, STATUS_CODES[kind])
    assert {"expected", "got", "remedy"} <= caught.value.metadata.keys()
    assert not any(word in str(caught.value.metadata) for word in IDENTITY)
    assert peak[0] < MOST_BYTES


@pytest.mark.parametrize("fault", NAMES)
def test_a_bad_study_is_told_as_what_it_is(stack: RunningStack, tmp_path: Path, fault: str) -> None:
    """Status, reason, expected, got and remedy, within 5 s and 1 GiB."""
    files, kind = FAULTS[fault]
    (media_type,) = {file.media_type for file in files}
    contents = (bytes(file.content) for file in files)
    check_refused(stack, stored(tmp_path, *contents, file_format=FORMATS[media_type]), kind)


@pytest.mark.parametrize("fault", archives())
def test_a_bad_archive_is_told_as_what_it_is(stack: RunningStack, tmp_path: Path, fault: str) -> None:
    """Likewise."""
    content, kind = archives()[fault]
    check_refused(stack, stored(tmp_path, content, file_format=FileFormat.DICOM_ZIP), kind)


def test_ten_thousand_instances_are_no_burden(stack: RunningStack, tmp_path: Path) -> None:
    """As an archive they are read; a series that long makes no head, and that is told in bounded time."""
    instance = write_series(small_volume((1, 24, 20)))[0]
    marks = (f"{number:016d}".encode() for number in itertools.count())
    # Another SOPInstanceUID for each, of the same length.
    place = instance.rindex(b"1.2.826.0.1.3680043.8.498.") + 26
    contents = [instance[:place] + next(marks) + instance[place + 16 :] for _ in range(10_000)]
    files = stored(tmp_path, write_zip(contents), file_format=FileFormat.DICOM_ZIP)
    with peak_memory(stack) as peak:
        began_s = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            segment(stack, files)
        assert time.monotonic() - began_s < LONGEST_S
    assert caught.value.reason == "UNUSABLE_SERIES"
    assert peak[0] < MOST_BYTES


def test_the_next_study_succeeds(stack: RunningStack, tmp_path: Path) -> None:
    """After a file that ended a decoder, a sound head with its lesion is segmented."""
    files, kind = FAULTS["nested 500 deep"]
    check_refused(stack, stored(tmp_path, *(bytes(file.content) for file in files)), kind)
    segmentation = segment(stack, stored(tmp_path, write_zip(head_instances()), file_format=FileFormat.DICOM_ZIP))
    assert segmentation.job.state is JobState.SUCCEEDED
    assert segmentation.sequences_used == ("t1c",)
