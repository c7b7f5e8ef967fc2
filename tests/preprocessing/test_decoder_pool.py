"""Real decoders on studies that tell them what to do: whatever it is, it ends soon, and the next study is read."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from brainmets.formats.study_reader import ReadStudy, VolumeListener
from brainmets.imaging.errors import (
    BrainmetsError,
    DecodingLimitError,
    DependencyUnavailableError,
    InternalError,
    MalformedFileError,
    UnusableSeriesError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.imaging.volume import Volume
from brainmets.preprocessing import decoder as decoders
from brainmets.preprocessing.decoder_pool import DecoderPool
from brainmets.preprocessing.decoding_messages import DecodingLimits, DecodingOrder, FileSpan
from brainmets.preprocessing.shared_memory import StudyBytes
from brainmets.runtime.metrics import PreprocessingMetrics
from brainmets.runtime.settings import PreprocessingSettings
from scripted_reader import AFFINE, FINDING, FORMS, NAP_S, READER, SERIES, SHAPE

SETTINGS = PreprocessingSettings(artifact_url="file:///nowhere")
DEFAULT_LIMITS = DecodingLimits(SETTINGS.decoding_time_s, SETTINGS.decoding_memory_bytes)
pytestmark = pytest.mark.asyncio(loop_scope="module")
# Far more time than a study takes, whatever else the machine does.
LIMITS = DecodingLimits(time_s=60.0, memory_bytes=128 * 1024**2)
GIB = 1024**3
# Beside the limit: the study's own pages, and those of the decoder that were not resident while it was idle.
OWN_BYTES = 32 * 1024**2


class Discards:
    """Decoders that a pool has discarded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = PreprocessingMetrics(self._registry)

    @property
    def count(self) -> float:
        """How many there are."""
        return self._registry.get_sample_value("brainmets_preprocessing_decoders_discarded_total") or 0.0


@pytest.fixture(scope="module")
def discards() -> Discards:
    """What the module's pool discards."""
    return Discards()


@pytest.fixture
def metrics() -> PreprocessingMetrics:
    """For a pool of the test's own."""
    return Discards().metrics


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_pool(discards: Discards) -> AsyncIterator[DecoderPool]:
    """One decoder that does what the study says; starting one takes half a second."""
    async with DecoderPool.open(1, LIMITS, discards.metrics, reader=READER) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def pool(shared_pool: DecoderPool) -> DecoderPool:
    """The same, with a decoder that is warm again."""
    await shared_pool.wait_until_ready()
    return shared_pool


async def read(
    pool: DecoderPool,
    *contents: bytes,
    selections: tuple[SeriesSelection, ...] = (),
    known: tuple[Sequence, ...] = tuple(Sequence),
    on_volume: VolumeListener = lambda _sequence, _volume: None,
) -> ReadStudy:
    """Have a study of some files read."""
    with StudyBytes(sum(map(len, contents))) as study:
        spans, begin = [], 0
        for index, content in enumerate(contents):
            study.write(content, offset_bytes=begin)
            spans.append(FileSpan(index, MediaType.DICOM, None, begin, len(content)))
            begin += len(content)
        order = DecodingOrder(tuple(spans), selections, known)
        return await pool.read_study(study, order, on_volume=on_volume)


def own_decoders() -> set[psutil.Process]:
    """Return the decoders of this process."""
    return {child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())}


async def wait_until_gone(process: psutil.Process, *, within_s: float) -> None:
    """Return once nothing is left of a process."""
    async with asyncio.timeout(within_s):
        while process.is_running():  # noqa: ASYNC110 -- another process ends
            await asyncio.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that nobody has reaped does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_what_was_read_arrives_as_it_was(pool: DecoderPool) -> None:
    """Voxels, grid, forms, findings and series are those of the reader, to the last bit."""
    study = await read(pool, b"-2.5", b"", selections=(SeriesSelection(Sequence.T1C, 3),), known=(Sequence.T1C,))
    assert (study.series, study.findings) == ((SERIES,), (FINDING,))
    assert study.t1c_forms == FORMS
    assert dict(study.file_indices) == {Sequence.T1C: 0}
    assert np.array_equal(study.volumes[Sequence.T1C].voxels, np.full(SHAPE, -2.5, np.float32))
    assert np.array_equal(study.volumes[Sequence.T1C].geometry.affine, AFFINE)


async def test_volumes_come_in_the_networks_order(pool: DecoderPool) -> None:
    """Channels do not depend on the order in which the files were read."""
    known = (Sequence.T1C, Sequence.T1N, Sequence.T2F)
    assert list((await read(pool, b"1", b"", known=known)).volumes) == [Sequence.T1C, Sequence.T2F]


@pytest.mark.parametrize(
    ("deed", "kind"),
    [
        (b"allocate", DecodingLimitError),
        (b"recurse", DecodingLimitError),
        (b"fault", MalformedFileError),
        (b"abort", MalformedFileError),
        (b"exit", MalformedFileError),
        (b"exit of the interpreter", MalformedFileError),
        (b"babble", MalformedFileError),
        (b"promise", MalformedFileError),
        (b"end from outside", DependencyUnavailableError),
        (b"refuse", UnusableSeriesError),
        (b"fail", InternalError),
    ],
)
async def test_the_next_study_is_read_whatever_the_last_one_did(
    pool: DecoderPool, discards: Discards, deed: bytes, kind: type[BrainmetsError]
) -> None:
    """The study is told what was wrong, its decoder is never used again, and a fresh one takes the next."""
    await go_on_after(deed, kind, pool, discards)


async def test_the_next_study_is_read_though_the_last_one_would_not_end(discards: Discards) -> None:
    """As after all other deeds, when it has computed for as long as it may."""
    async with DecoderPool.open(1, replace(LIMITS, time_s=1.0), discards.metrics, reader=READER) as pool:
        await go_on_after(b"loop", DecodingLimitError, pool, discards)


async def test_a_study_waits_as_long_as_its_decoder_is_kept_from_computing(metrics: PreprocessingMetrics) -> None:
    """A machine that is busy or stands still is no fault of the study."""
    async with DecoderPool.open(1, replace(LIMITS, time_s=NAP_S / 2), metrics, reader=READER) as pool:
        assert (await read(pool, b"7", b"nap")).volumes


async def test_a_service_that_stood_still_refuses_no_study(metrics: PreprocessingMetrics) -> None:
    """The answer lies in the socket, however late it is taken."""
    async with DecoderPool.open(1, replace(LIMITS, time_s=NAP_S / 2), metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        reading = asyncio.create_task(read(pool, b"7"))
        # Until the decoder is asked; then nothing runs here, while it answers.
        await asyncio.sleep(0)
        time.sleep(NAP_S)  # noqa: ASYNC251 -- it is what is tested
        assert (await reading).volumes


async def test_many_studies_take_their_time_each(metrics: PreprocessingMetrics) -> None:
    """A decoder is not ended for what it computed for the studies before."""
    async with DecoderPool.open(1, replace(LIMITS, time_s=1.0), metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        before = own_decoders()
        for _ in range(4):
            await read(pool, b"7", b"compute")
        assert own_decoders() == before


@pytest.mark.parametrize("deed", [b"sleep", b"hang up"])
async def test_a_decoder_that_neither_answers_nor_ends_is_ended(
    discards: Discards, monkeypatch: pytest.MonkeyPatch, deed: bytes
) -> None:
    """Whether it is the study's fault cannot be known, so that another attempt may read it."""
    monkeypatch.setattr(decoders, "PATIENCE", 1.0)
    before = discards.count
    async with DecoderPool.open(1, replace(LIMITS, time_s=1.0), discards.metrics, reader=READER) as pool:
        with pytest.raises(DependencyUnavailableError):
            await read(pool, deed)
    assert discards.count == before + 1


async def go_on_after(deed: bytes, kind: type[BrainmetsError], pool: DecoderPool, discards: Discards) -> None:
    """Have a study refused, and the next one read by another decoder."""
    before = discards.count
    with pytest.raises(kind):
        await read(pool, deed)
    assert np.all((await read(pool, b"7")).volumes[Sequence.T1C].voxels == 7.0)
    assert discards.count == before + 1


@pytest.mark.parametrize(
    ("deed", "limits"), [(b"loop", DEFAULT_LIMITS), (b"allocate", replace(DEFAULT_LIMITS, time_s=LIMITS.time_s))]
)
async def test_no_study_takes_more_than_five_seconds_or_one_gibibyte(
    metrics: PreprocessingMetrics, deed: bytes, limits: DecodingLimits
) -> None:
    """The limits that the service has by default keep what the documentation promises."""
    others = own_decoders()
    async with DecoderPool.open(1, limits, metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        (decoder,) = own_decoders() - others
        idle_bytes = peak_bytes = decoder.memory_info().rss
        idle_s = spent_s = computing_s(decoder)
        study = asyncio.create_task(read(pool, deed))
        while not study.done():
            with contextlib.suppress(psutil.NoSuchProcess):
                peak_bytes = max(peak_bytes, decoder.memory_info().rss)
                spent_s = max(spent_s, computing_s(decoder))
            if peak_bytes - idle_bytes >= GIB + OWN_BYTES:
                study.cancel()
            await asyncio.sleep(0.005)
        assert spent_s - idle_s < limits.time_s + 1.0
        assert peak_bytes - idle_bytes < GIB + OWN_BYTES
        error = study.exception()
    assert isinstance(error, DecodingLimitError)
    assert error.got == ("4 s of computing" if deed == b"loop" else "more memory")


def computing_s(process: psutil.Process) -> float:
    """Return how long a process has computed."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def test_a_refusal_keeps_its_words(pool: DecoderPool) -> None:
    """What the reader says is what the client is told."""
    with pytest.raises(UnusableSeriesError) as caught:
        await read(pool, b"refuse", b"")
    error = caught.value
    assert (error.message, error.expected, error.got) == ("Slices are missing", "even slices", "3 slices missing")
    assert (error.remedy, error.file_index) == ("send all slices", 77)


async def test_a_lone_file_is_named_when_it_breaks_the_decoder(pool: DecoderPool) -> None:
    """Of several files nobody can tell which one it was."""
    for contents, file_index in (((b"exit",), 0), ((b"exit", b""), None)):
        with pytest.raises(MalformedFileError) as caught:
            await read(pool, *contents)
        assert caught.value.file_index == file_index


async def test_a_volume_is_told_while_the_decoder_goes_on(pool: DecoderPool) -> None:
    """Whoever waits for the T1c need not wait for the others."""
    told: asyncio.Future[tuple[Sequence, float]] = asyncio.get_running_loop().create_future()

    def take(sequence: Sequence, volume: Volume) -> None:
        if sequence is Sequence.T1C:
            told.set_result((sequence, float(volume.voxels.max())))

    reading = asyncio.create_task(read(pool, b"2.5", b"loop", on_volume=take))
    async with asyncio.timeout(60.0):
        assert await told == (Sequence.T1C, 2.5)
    assert not reading.done()
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("deed", [b"tell a volume twice", b"tell another volume"])
async def test_volumes_that_do_not_fit_the_study_are_refused(pool: DecoderPool, deed: bytes) -> None:
    """A decoder that was taken over may tell anything."""
    with pytest.raises(MalformedFileError):
        await read(pool, b"1.0", deed)


async def test_a_refusal_that_has_no_memory_left_is_a_limit(pool: DecoderPool) -> None:
    """It must lie somewhere; the decoder ends, and says by how that it was too much."""
    with pytest.raises(DecodingLimitError):
        await read(pool, b"1.0", b"refuse with no memory left")


async def test_a_defect_tells_where_it_is_and_quotes_nothing(pool: DecoderPool) -> None:
    """An exception's words may hold a patient's name."""
    with pytest.raises(InternalError) as caught:
        await read(pool, b"fail")
    assert caught.value.got.startswith("KeyError in _fail")
    assert "Doe" not in str(caught.value)


async def test_a_decoder_knows_no_secrets(metrics: PreprocessingMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the service are not in its environment."""
    monkeypatch.setenv("BRAINMETS_PASSWORD", "secret")
    async with DecoderPool.open(1, LIMITS, metrics, reader=READER) as pool:
        with pytest.raises(UnusableSeriesError) as caught:
            await read(pool, b"tell the environment")
    assert "PYTHONPATH" in caught.value.got
    assert "BRAINMETS" not in caught.value.got


async def test_a_decoder_writes_no_file(pool: DecoderPool) -> None:
    """Patient data live in the stored input only."""
    with pytest.raises(InternalError) as caught:
        await read(pool, b"write a file")
    assert caught.value.got.startswith("OSError in _write_file")


async def test_cancelling_a_study_ends_its_decoder_at_once(pool: DecoderPool) -> None:
    """Nobody decodes for a client that has left."""
    (decoder,) = own_decoders()
    study = asyncio.create_task(read(pool, b"loop"))
    await asyncio.sleep(0.1)
    study.cancel()
    with pytest.raises(asyncio.CancelledError):
        await study
    await wait_until_gone(decoder, within_s=30.0)


async def test_a_decoder_that_does_not_start_says_so(
    metrics: PreprocessingMetrics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In words: a timeout has none of its own."""
    monkeypatch.setattr(decoders, "START_S", 0.01)
    tmp_path.joinpath("slow_reader.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError, match="not ready within"):
        async with DecoderPool.open(1, LIMITS, metrics, reader="slow_reader:read_study") as pool:
            await pool.wait_until_ready()


async def test_an_idle_decoder_that_was_ended_is_replaced(pool: DecoderPool, discards: Discards) -> None:
    """A study never meets a decoder that is gone."""
    before = discards.count
    (decoder,) = own_decoders()
    decoder.kill()
    await wait_until_gone(decoder, within_s=30.0)
    assert np.all((await read(pool, b"1")).volumes[Sequence.T1C].voxels == 1.0)
    assert discards.count == before + 1


async def test_a_study_that_is_still_looked_at_is_not_overwritten(pool: DecoderPool) -> None:
    """The memory of one patient's volume never shows another's."""
    studies = [await read(pool, b"%d" % number) for number in range(5)]
    for number, study in enumerate(studies):
        assert np.all(study.volumes[Sequence.T1C].voxels == number)


async def test_studies_are_read_beside_each_other(metrics: PreprocessingMetrics) -> None:
    """One slow study does not keep the other decoder from the next one."""
    async with DecoderPool.open(2, LIMITS, metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        slow = asyncio.create_task(read(pool, b"loop"))
        await asyncio.sleep(0.05)
        studies = await asyncio.gather(*(read(pool, b"%d" % number) for number in range(4)))
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    assert [study.volumes[Sequence.T1C].voxels[0, 0, 0] for study in studies] == [0.0, 1.0, 2.0, 3.0]


async def test_a_reader_that_is_not_there_is_told_at_the_start(
    metrics: PreprocessingMetrics, capfd: pytest.CaptureFixture[str]
) -> None:
    """A service whose decoders do not start says so instead of waiting for them."""
    async with DecoderPool.open(1, LIMITS, metrics, reader="scripted_reader:nothing") as pool:
        with pytest.raises(OSError, match="ended before"):
            await pool.wait_until_ready()
    assert "nothing" in capfd.readouterr().err


async def test_nothing_is_left_of_a_closed_pool(metrics: PreprocessingMetrics) -> None:
    """The service's end is its decoders'."""
    others = own_decoders()
    async with DecoderPool.open(2, LIMITS, metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        decoders = own_decoders() - others
        assert len(decoders) == 2
    assert not any(decoder.is_running() for decoder in decoders)


SERVICE = """
import asyncio
from test_decoder_pool import Discards, DecoderPool, LIMITS, READER, own_decoders, read

async def main():
    async with DecoderPool.open(1, LIMITS, Discards().metrics, reader=READER) as pool:
        await pool.wait_until_ready()
        print(own_decoders().pop().pid, flush=True)
        await read(pool, b"loop")

asyncio.run(main())
"""


async def test_a_decoder_dies_with_its_service() -> None:
    """A service that was killed leaves nobody behind, not even one that decodes."""
    search = os.pathsep.join((*sys.path, str(Path(__file__).parent)))
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE), env={**os.environ, "PYTHONPATH": search}, stdout=asyncio.subprocess.PIPE
    )
    assert service.stdout is not None
    decoder = psutil.Process(int(await service.stdout.readline()))
    await asyncio.sleep(0.1)
    service.kill()
    await service.wait()
    async with asyncio.timeout(30):
        while is_alive(decoder):  # noqa: ASYNC110 -- another process ends
            await asyncio.sleep(0.01)
