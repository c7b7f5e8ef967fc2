"""A whole gateway on loopback, and studies in a folder."""

from pathlib import Path

import pytest

from brainmets.formats.nifti import read_nifti
from dicom_cases import write_series
from gateway_bench import study_bytes
from gateway_fixtures import bench, idle

__all__ = ["bench", "idle"]


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
