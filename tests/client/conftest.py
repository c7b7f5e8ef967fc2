"""A whole gateway on loopback, and studies in a folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from brainmets.formats.nifti import read_nifti
from dicom_cases import write_series
from gateway_bench import GatewayBench, running_gateway, study_bytes


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    # Else the gateway's events, of this process too, would stand among what a command prints.
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running, running.working():
            yield running


@pytest.fixture
async def idle(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway without a worker: a job waits until it is cancelled."""
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running:
            yield running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a T1c and a FLAIR."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "patient-t1c.nii.gz").write_bytes(study_bytes())
    (folder / "patient-t2f.nii.gz").write_bytes(study_bytes())
    (folder / "notes.txt").write_text("of no interest")
    return folder


@pytest.fixture
def dicom_study(tmp_path: Path) -> Path:
    """A folder of an examination in DICOM: a scout, and the head of `study_bytes` after contrast medium."""
    head = read_nifti(study_bytes(), file_index=0)
    t1c = {"SeriesNumber": 7, "SeriesDescription": "t1 mprage", "ContrastBolusAgent": "gadobutrol"}
    scout = {"SeriesNumber": 1, "SeriesDescription": "scout", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    for seed, attributes in enumerate((t1c, scout)):
        folder = tmp_path / "dicom" / str(attributes["SeriesDescription"])
        folder.mkdir(parents=True)
        for number, instance in enumerate(write_series(head, attributes=attributes, seed=seed)):
            (folder / f"IM{number}").write_bytes(instance)
    return tmp_path / "dicom"
