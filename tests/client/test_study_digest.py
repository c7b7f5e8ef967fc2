"""The name of a study's content, which the client and the service must agree on."""

from pathlib import Path

import pytest

from brainmets.client import AsyncClient, find_study_files
from brainmets.client.study_digest import digest_study
from gateway_bench import GatewayBench


@pytest.mark.parametrize("kind", ["study", "dicom_study"])
async def test_the_service_names_a_study_likewise(
    bench: GatewayBench, kind: str, request: pytest.FixtureRequest
) -> None:
    """Files of stated sequences, and an archive that is made on the way."""
    files = find_study_files(request.getfixturevalue(kind))
    async with AsyncClient(bench.address) as client:
        assert digest_study(files) == (await client.segment(files)).report.input_sha256


def test_a_sequence_of_another_name_is_another_study(study: Path) -> None:
    """The same bytes, taken for something else."""
    before = digest_study(find_study_files(study))
    (study / "patient-t2f.nii.gz").rename(study / "patient-t2w.nii.gz")
    assert digest_study(find_study_files(study)) != before
