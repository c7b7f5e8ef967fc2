"""A study through the worker's steps: what each one hands to the next, what is stored, and what stops it."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.jobs import ArtifactKind, Progress, Stage
from brainmets.gateway.model_contract import DecisionOptions, ModelContract, plan_segmentation
from brainmets.gateway.outputs import FILE_NAMES, OutputFolder
from brainmets.gateway.preparation import PreparedStudy
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.gateway.workflow import SegmentedStudy, StudyOrder, Workbench, segment_study
from brainmets.imaging.errors import (
    BrainmetsError,
    DeadlineExceededError,
    InferenceFailedError,
    MalformedFileError,
)
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.geometry import Box
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.midline import Midline, Side
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import Tile, TileGrid, crop_tile, plan_tiles
from brainmets.runtime.artifact_store import ArtifactStore
from brainmets.wire.stored_file import StoredFile
from brainmets.wire.tiles import StudyHeader
from fakes import FakeTileInferencer, make_contract
from imaging_cases import make_geometry

# The head lies 10 mm inside of the acquired volume.
ACQUIRED = make_geometry((44, 60, 52), origin_mm=(-26.0, -30.0, -20.0))
HEAD = Box((10, 10, 10), (34, 50, 42))
LESION = (slice(8, 16), slice(20, 30), slice(20, 26))
FINDING = Finding(FindingCode.SEQUENCE_DROPPED, "It was left out.", Sequence.T2F)
FILES = (StoredFile(0, MediaType.NIFTI, Sequence.T1C, ("uploads/a/0/0",), bytes(32), 1),)
CHOICES = PreparationChoices(force=True)

FORMS = NiftiForms(4, 2, (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (5.0, -7.0, 9.0))


def normalized(sequences: tuple[Sequence, ...] = (Sequence.T1C,)) -> NormalizedVolume:
    """Return a head whose T1c is 0.9 in a lesion in its left half, and 0.1 elsewhere."""
    voxels = np.full((len(sequences), *HEAD.shape), 0.1, dtype=np.float32)
    voxels[0][LESION] = 0.9
    return NormalizedVolume(
        voxels=voxels,
        sequences=sequences,
        geometry=ACQUIRED.crop(HEAD),
        acquired=ACQUIRED,
        foreground=np.ones(HEAD.shape, dtype=np.bool_),
        brain=np.ones(HEAD.shape, dtype=np.bool_),
        findings=(FINDING,),
    )


@dataclass
class MemoryPreparer:
    """Cuts a volume that is in memory; behind the port `StudyPreparer`. `error` comes after a number of tiles."""

    volume: NormalizedVolume = field(default_factory=normalized)
    error: BrainmetsError | None = None
    error_after: int = 0
    closed: bool = False

    @asynccontextmanager
    async def prepare(
        self,
        job_id: str,
        files: tuple[StoredFile, ...],
        *,
        choices: PreparationChoices,
        contract: TileContract,
        deadline: Deadline,
    ) -> AsyncIterator[PreparedStudy]:
        """Yield the volume's header and tiles."""
        assert job_id
        assert choices == CHOICES
        deadline.check()
        grid = plan_tiles(self.volume.geometry.shape, contract)
        header = StudyHeader(
            acquired=self.volume.acquired,
            normalized=self.volume.geometry,
            sequences=self.volume.sequences,
            findings=self.volume.findings,
            grid=grid,
            midline=Midline((1.0, 0.0, 0.0), 0.0),
            t1c_file_index=files[0].file_index,
            t1c_forms=FORMS,
        )
        try:
            yield PreparedStudy(header, self._cut(grid))
        finally:
            self.closed = True

    async def _cut(self, grid: TileGrid) -> AsyncIterator[Tile]:
        for index in range(len(grid.boxes)):
            if self.error is not None and index == self.error_after:
                raise self.error
            yield crop_tile(self.volume, grid, index=index)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An artefact store in a folder."""
    return ArtifactStore.open(tmp_path.as_uri())


@pytest.fixture
def preparer() -> MemoryPreparer:
    """A preparer of one head."""
    return MemoryPreparer()


@pytest.fixture
def inferencer() -> FakeTileInferencer:
    """Networks that answer the T1c."""
    return FakeTileInferencer()


@pytest.fixture
def progress() -> list[Progress]:
    """What is reported."""
    return []


@pytest.fixture
def segment(
    artifacts: ArtifactStore, preparer: MemoryPreparer, inferencer: FakeTileInferencer, progress: list[Progress]
) -> Callable[..., "asyncio.Task[SegmentedStudy]"]:
    """Segment the head by the mean of two networks."""

    async def report(change: Progress) -> None:
        # A store's answers differ in speed.
        await asyncio.sleep(0.005 * (change.tiles_done % 2))
        progress.append(change)

    turn = asyncio.Semaphore(1)

    def begin(*, deadline_s: float = 20.0, tiles_in_flight: int = 2) -> "asyncio.Task[SegmentedStudy]":
        deadline = Deadline.after(deadline_s)
        contracts = (make_contract("nested_unet"), make_contract("attention_unet", threshold="0.3"))
        plan = plan_segmentation(DecisionOptions(), contracts)
        return asyncio.create_task(
            segment_study(
                StudyOrder("job", FILES, "cd" * 32, CHOICES, plan, deadline),
                Workbench(preparer, inferencer, tiles_in_flight, turn),
                output=OutputFolder(artifacts, "jobs/job/1/", deadline=deadline),
                report=report,
            )
        )

    return begin


Segment = Callable[..., "asyncio.Task[SegmentedStudy]"]


async def read_voxels(artifacts: ArtifactStore, kind: ArtifactKind) -> NDArray[np.float64]:
    """Return a stored NIfTI's voxels (D, H, W)."""
    content = await artifacts.read(f"jobs/job/1/{FILE_NAMES[kind]}")
    voxels: NDArray[np.float64] = nibabel.Nifti1Image.from_bytes(gzip.decompress(content)).get_fdata().T
    return voxels


async def test_the_lesion_is_where_the_networks_saw_it(segment: Segment) -> None:
    """Its volume, place and side are those of the voxels that were bright."""
    (lesion,) = (await segment()).result.lesions
    assert lesion.volume_mm3 == 8 * 10 * 6
    assert lesion.bounding_box == Box((18, 30, 30), (26, 40, 36))
    assert lesion.side is Side.LEFT


async def test_the_mask_is_the_lesion_on_the_acquired_grid(segment: Segment, artifacts: ArtifactStore) -> None:
    """Cropping for the networks is undone."""
    await segment()
    expected = np.zeros(ACQUIRED.shape)
    expected[HEAD.slices][LESION] = 1
    np.testing.assert_array_equal(await read_voxels(artifacts, ArtifactKind.MASK_NIFTI), expected)


@pytest.mark.parametrize("kind", [ArtifactKind.MASK_NIFTI, ArtifactKind.PROBABILITY_NIFTI])
async def test_files_say_where_they_lie_as_the_t1c_does(
    segment: Segment, artifacts: ArtifactStore, kind: ArtifactKind
) -> None:
    """So that they lie on it in every viewer."""
    await segment()
    content = await artifacts.read(f"jobs/job/1/{FILE_NAMES[kind]}")
    header = nibabel.Nifti1Image.from_bytes(gzip.decompress(content)).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (FORMS.sform_code, FORMS.qform_code)
    assert float(header["qoffset_y"]) == FORMS.offset_mm[1]


async def test_the_probability_is_the_networks_mean(segment: Segment, artifacts: ArtifactStore) -> None:
    """To a step of one 255th, and zero where nothing was decided."""
    await segment()
    expected = np.zeros(ACQUIRED.shape)
    expected[HEAD.slices] = 0.1
    expected[HEAD.slices][LESION] = 0.9
    probability = await read_voxels(artifacts, ArtifactKind.PROBABILITY_NIFTI)
    np.testing.assert_allclose(probability, expected, atol=0.5 / 255 + 1e-6)


async def test_the_brightest_of_the_t1c_is_told(segment: Segment) -> None:
    """Where normalisation clipped it; tiles travel in half precision."""
    assert (await segment()).t1c_ceiling == pytest.approx(0.9, rel=1e-3)


async def test_what_decided_stands_in_the_result(segment: Segment) -> None:
    """Networks, operating point, findings and input."""
    result = (await segment()).result
    assert [model.model_name for model in result.models] == ["nested_unet", "attention_unet"]
    assert result.threshold == pytest.approx(0.4)
    assert result.findings == (FINDING,)
    assert result.input_sha256 == "cd" * 32


async def test_every_file_is_stored_as_it_is_listed(segment: Segment, artifacts: ArtifactStore) -> None:
    """Size and digest are of what lies in the store."""
    segmented = await segment()
    assert {artifact.kind for artifact in segmented.artifacts} == set(ArtifactKind)
    for artifact in segmented.artifacts:
        assert len(await artifacts.read(artifact.path)) == artifact.size_bytes


async def test_the_steps_are_reported_in_order(segment: Segment, progress: list[Progress]) -> None:
    """Preparing, every tile of every network, measuring, writing."""
    await segment()
    stages = list(dict.fromkeys(change.stage for change in progress))
    assert stages == [Stage.PREPARING, Stage.INFERRING, Stage.MEASURING, Stage.WRITING]
    inferring = [change for change in progress if change.stage is Stage.INFERRING]
    assert [change.tiles_done for change in inferring] == list(range(1, inferring[0].tiles_total + 1))


async def test_the_tiles_stay_counted_after_inference(segment: Segment, progress: list[Progress]) -> None:
    """Whoever shows how far a study is shows no step back."""
    await segment()
    counts = {(change.tiles_done, change.tiles_total) for change in progress[-3:]}
    assert [change.stage for change in progress[-3:]] == [Stage.INFERRING, Stage.MEASURING, Stage.WRITING]
    assert counts == {(progress[1].tiles_total, progress[1].tiles_total)}


async def test_the_next_study_begins_while_the_last_tiles_are_under_way(
    segment: Segment, inferencer: FakeTileInferencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else cores wait for the slowest tile of every study."""
    infer, asked, going_on = inferencer.infer, asyncio.Event(), asyncio.Event()

    async def first_hangs(model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline) -> object:
        if not asked.is_set():
            asked.set()
            await going_on.wait()
        return await infer(model, voxels, deadline=deadline)

    monkeypatch.setattr(inferencer, "infer", first_hangs)
    first = segment()
    await asked.wait()
    await asyncio.wait_for(segment(), 20.0)
    assert not first.done()
    going_on.set()
    await first


async def test_tiles_in_flight_are_bounded(segment: Segment, inferencer: FakeTileInferencer) -> None:
    """Triton is given no more at a time than was set."""
    inferencer.delay_s = 0.01
    await segment(tiles_in_flight=2)
    assert inferencer.most_in_flight == 2


async def test_cancelling_stops_inference_and_preparation(
    segment: Segment, inferencer: FakeTileInferencer, preparer: MemoryPreparer
) -> None:
    """Nothing goes on for a study that nobody wants."""
    inferencer.delay_s = 30.0
    task = segment()
    while inferencer.in_flight < 2:  # noqa: ASYNC110 -- what is waited for is a number
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (inferencer.cancelled, inferencer.in_flight) == (2, 0)
    assert preparer.closed


async def test_a_failed_inference_is_the_studys_error(segment: Segment, inferencer: FakeTileInferencer) -> None:
    """It arrives as itself, not wrapped in a group."""
    inferencer.error = InferenceFailedError("No", expected="a probability", got="none", remedy="wait")
    with pytest.raises(InferenceFailedError):
        await segment()


async def test_an_error_in_the_stream_is_the_studys_error(segment: Segment, preparer: MemoryPreparer) -> None:
    """Also after some tiles have come."""
    preparer.error = MalformedFileError("No", expected="a head", got="none", remedy="send one")
    preparer.error_after = 1
    with pytest.raises(MalformedFileError):
        await segment()


async def test_nothing_is_stored_of_a_study_that_fails(
    segment: Segment, inferencer: FakeTileInferencer, artifacts: ArtifactStore
) -> None:
    """Half a result is none."""
    inferencer.error = InferenceFailedError("No", expected="a probability", got="none", remedy="wait")
    with pytest.raises(InferenceFailedError):
        await segment()
    assert await artifacts.list_paths("jobs/") == ()


async def test_a_study_ends_at_its_deadline(segment: Segment, inferencer: FakeTileInferencer) -> None:
    """Networks that are too slow do not hold a worker for ever."""
    inferencer.delay_s = 5.0
    with pytest.raises((InferenceFailedError, DeadlineExceededError)):
        await segment(deadline_s=0.2)
