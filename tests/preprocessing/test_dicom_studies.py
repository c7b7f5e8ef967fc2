"""PrepareStudy on DICOM: single instances, archives and several series, as they come from a hospital."""

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from brainmets.imaging.errors import (
    BrainmetsError,
    MalformedFileError,
    MixedStudiesError,
    PreContrastError,
    QualityRefusedError,
    UnsupportedFormatError,
)
from brainmets.imaging.volume import Volume
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.v1 import job_pb2, result_pb2, study_pb2
from dicom_cases import write_series, write_zip
from dicom_faults import DAMAGES, with_stream
from imaging_cases import AXIAL, make_geometry
from preparation_bench import VOXEL_MM, PreparationBench, head_voxels, nifti_bytes

WITH_CONTRAST = {"SeriesDescription": "t1 mprage", "ContrastBolusAgent": "Gadovist", "SeriesNumber": 5}
WITHOUT_CONTRAST = {"SeriesDescription": "t1 mprage nativ", "SeriesNumber": 3}
FLAIR = {"SeriesDescription": "t2 flair", "SeriesNumber": 7}


def head_volume(*, seed: int = 0, voxel_mm: float = VOXEL_MM) -> Volume:
    """Return a head of whole numbers on an axial grid."""
    voxels = np.ascontiguousarray(np.rint(head_voxels(seed=seed)).T)
    d, h, w = voxels.shape
    grid = make_geometry((d, h, w), spacing_mm=(voxel_mm,) * 3, directions=AXIAL, origin_mm=(-126.0, -118.0, 0.0))
    return Volume(voxels, grid)


async def store_instances(bench: PreparationBench, instances: tuple[bytes, ...]) -> list[messages.StoredFile]:
    """Store each instance as a file of its own."""
    return [await bench.store(content, file_index=index, media_type="DICOM") for index, content in enumerate(instances)]


async def store_zip(bench: PreparationBench, *series: tuple[bytes, ...], file_index: int = 0) -> messages.StoredFile:
    """Store some series as one archive."""
    content = write_zip(instance for instances in series for instance in instances)
    return await bench.store(content, file_index=file_index, media_type="DICOM_ZIP")


async def prepared_header(bench: PreparationBench, *files: messages.StoredFile) -> messages.StudyHeader:
    """Return a study's header."""
    return (await bench.prepare(*files))[0].header


async def refusal(
    bench: PreparationBench, *files: messages.StoredFile, series: tuple[job_pb2.SeriesSelection, ...] = ()
) -> BrainmetsError:
    """Return the error that a study is answered with."""
    with pytest.raises(BrainmetsError) as caught:
        await bench.prepare(*files, series=series)
    return caught.value


async def test_instances_of_a_series_are_one_volume(bench: PreparationBench) -> None:
    """Its grid is the one that was written, and the T1c's file one of the instances."""
    volume = head_volume()
    header = await prepared_header(bench, *await store_instances(bench, write_series(volume, attributes=WITH_CONTRAST)))
    assert sorted(header.acquired.shape) == sorted(volume.geometry.shape)
    affine = np.array(header.acquired.affine_lps).reshape(4, 4)
    assert np.allclose(sorted(np.linalg.norm(affine[:3, :3], axis=0)), VOXEL_MM)
    assert header.t1c_file_index < len(volume.voxels)


async def test_an_archive_is_the_study_it_holds(bench: PreparationBench) -> None:
    """One zip gives the same tiles as its instances one by one."""
    instances = write_series(head_volume(), attributes=WITH_CONTRAST)
    one_by_one = await bench.prepare(*await store_instances(bench, instances))
    archive = await bench.prepare(await store_zip(bench, instances))
    assert archive[1:] == one_by_one[1:]
    assert len(archive) > 1


@pytest.mark.parametrize(
    "syntax",
    [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000, RLELossless],
    ids=lambda syntax: syntax.keyword,
)
async def test_a_compressed_series_is_what_it_is_uncompressed(bench: PreparationBench, syntax: UID) -> None:
    """To the last bit of a tile: no codec complains of what is sound."""
    plain = write_series(head_volume(), attributes=WITH_CONTRAST)
    compressed = write_series(head_volume(), attributes=WITH_CONTRAST, transfer_syntax=syntax)
    expected = await bench.prepare(await store_zip(bench, plain))
    assert (await bench.prepare(await store_zip(bench, compressed, file_index=1)))[1:] == expected[1:]


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damaged_slice_is_refused_and_named(bench: PreparationBench, name: str, syntax: UID) -> None:
    """Its codec would go on with a slice that is half of something else."""
    instances = list(write_series(head_volume(), attributes=WITH_CONTRAST, transfer_syntax=syntax))
    instances[20] = with_stream(instances[20], DAMAGES[name])
    error = await refusal(bench, *await store_instances(bench, tuple(instances)))
    assert isinstance(error, MalformedFileError)
    assert (error.file_index, error.got) == (20, "a damaged stream")


async def test_the_header_tells_what_became_of_each_series(bench: PreparationBench) -> None:
    """The T1c is the series with contrast medium; the one before it is not taken for it."""
    archive = await store_zip(
        bench,
        write_series(head_volume(seed=1), attributes=WITHOUT_CONTRAST, seed=1),
        write_series(head_volume(seed=2), attributes=WITH_CONTRAST, seed=2),
    )
    header = await prepared_header(bench, archive)
    used = {use.series_number: use.sequence for use in header.series if use.used}
    assert used[5] == study_pb2.SEQUENCE_T1C
    assert used.get(3) != study_pb2.SEQUENCE_T1C
    assert len(header.series) == 2


async def test_a_series_chosen_by_hand_is_taken(bench: PreparationBench) -> None:
    """The request's choice goes before what the attributes say."""
    plain = {"SeriesDescription": "t1 mprage"}
    archive = await store_zip(
        bench,
        write_series(head_volume(seed=1), attributes=plain | {"SeriesNumber": 4}, seed=1),
        write_series(head_volume(seed=2), attributes=WITH_CONTRAST, seed=2),
    )
    chosen = job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T1C, series_number=4)
    header = (await bench.prepare(archive, series=[chosen]))[0].header
    t1c = [use.series_number for use in header.series if use.used and use.sequence == study_pb2.SEQUENCE_T1C]
    assert t1c == [4]


async def test_a_lone_series_before_contrast_medium_is_refused(bench: PreparationBench) -> None:
    """Metastases do not show in it."""
    archive = await store_zip(bench, write_series(head_volume(), attributes=WITHOUT_CONTRAST))
    assert isinstance(await refusal(bench, archive), PreContrastError)


async def test_two_patients_are_refused(bench: PreparationBench) -> None:
    """Their series are never one study, and no name is told."""
    archive = await store_zip(
        bench,
        write_series(head_volume(), attributes=WITH_CONTRAST, seed=1),
        write_series(head_volume(), attributes=FLAIR | {"PatientID": "0815", "PatientName": "Roe^Jack"}, seed=2),
    )
    error = await refusal(bench, archive)
    assert isinstance(error, MixedStudiesError)
    assert not {"0815", "Roe", "Doe"} & set(str(error).replace("^", " ").split())


async def test_an_archive_without_dicom_is_refused(bench: PreparationBench) -> None:
    """The error names the archive, also when another file is fine."""
    files = await store_instances(bench, write_series(head_volume(), attributes=WITH_CONTRAST))
    error = await refusal(bench, *files, await store_zip(bench, (b"read me",), file_index=999))
    assert isinstance(error, UnsupportedFormatError)
    assert error.file_index == 999


async def test_dicom_and_nifti_of_one_head_are_prepared_together(bench: PreparationBench) -> None:
    """A sequence may come in another format than the T1c."""
    archive = await store_zip(bench, write_series(head_volume(), attributes=WITH_CONTRAST))
    flair = await bench.store(nifti_bytes(head_voxels(seed=3)), file_index=1, sequence="T2F")
    header = await prepared_header(bench, archive, flair)
    assert list(header.sequences) == [study_pb2.SEQUENCE_T1C, study_pb2.SEQUENCE_T2F]


async def test_no_head_is_refused_unless_the_request_insists(bench: PreparationBench) -> None:
    """A thing of some centimetres is no head; with `force` it is prepared, and the finding says what it was."""
    archive = await store_zip(bench, write_series(head_volume(voxel_mm=0.5), attributes=WITH_CONTRAST))
    error = await refusal(bench, archive)
    assert isinstance(error, QualityRefusedError)
    header = (await bench.prepare(archive, force=True))[0].header
    severities = {finding.code: finding.severity for finding in header.findings}
    assert severities[result_pb2.FINDING_CODE_NOT_A_HEAD] == result_pb2.SEVERITY_SEVERE
