"""`brainmets inspect`, from a path to what is printed."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from brainmets.client.commands import app
from brainmets.client.endings import ExitCode
from brainmets.client.installed_commands import installed_command
from brainmets.inspection.command import MAX_STUDY_BYTES, inspect
from entry_points import install_commands
from gateway_bench import study_bytes, study_voxels
from preparation_bench import nifti_bytes

STUDYFORREST = Path(__file__).parents[3] / "shared/data/dicom_t1_studyforrest/dicoms"


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A NIfTI file without a word about what it is."""
    path = tmp_path / "head.nii.gz"
    path.write_bytes(study_bytes())
    return path


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the entry point that pyproject.toml declares, whatever is installed here."""
    monkeypatch.syspath_prepend(install_commands(tmp_path / "site"))


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, ["inspect", *arguments])


def test_the_client_finds_it() -> None:
    """By the entry point."""
    assert installed_command("inspect") is inspect


def test_a_readable_study_is_shown_and_ends_well(head: Path) -> None:
    """With its name, its findings, and what the service would do."""
    result = run(str(head))
    assert result.exit_code == ExitCode.OK, result.stdout
    assert "head.nii.gz" in result.stdout
    assert "CONTRAST_NOT_ESTABLISHED" in result.stdout


def test_json_is_all_that_is_printed(head: Path) -> None:
    """A script reads it."""
    answer = json.loads(run(str(head), "--json").stdout)
    assert answer["readable"]
    assert answer["series"][0]["used"]


def test_files_that_are_left_alone_are_told(head: Path) -> None:
    """As `segment` tells them, and beside what a script reads."""
    head.with_name("head-t1c.nii.gz").write_bytes(study_bytes())
    result = run(str(head.parent), "--json")
    assert "Left alone, not named as NIfTI files of a sequence: head.nii.gz\n" in result.stderr
    assert len(json.loads(result.stdout)["series"]) == 1


@pytest.mark.parametrize("content", [b"", b"no image", study_bytes()[:5000]], ids=["empty", "text", "cut"])
def test_a_study_that_cannot_be_read_is_told_with_its_own_exit_code(head: Path, content: bytes) -> None:
    """It is what `segment` would end with."""
    head.write_bytes(content)
    result = run(str(head))
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "would refuse" in result.stdout


def test_a_severe_finding_refuses_the_study(head: Path) -> None:
    """As the service would; what speaks against it is told in a sentence."""
    head.write_bytes(nifti_bytes(study_voxels(), spacing_mm=0.5))
    result = run(str(head))
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "NOT_A_HEAD" in result.stdout
    assert "would refuse" in result.stdout


def test_a_selection_that_names_no_series_is_told(head: Path) -> None:
    """NIfTI has no numbers."""
    result = run(str(head), "--series", "t1c=5")
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "5" in result.stdout


def test_a_path_without_a_study_is_one_sentence(tmp_path: Path) -> None:
    """As for `segment`."""
    result = run(str(tmp_path / "nowhere"))
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "nowhere" in result.stderr


def test_what_no_service_would_take_is_not_read(head: Path) -> None:
    """A folder of a whole archive must not fill the memory."""
    with head.open("r+b") as file:
        file.truncate(MAX_STUDY_BYTES + 1)
    result = run(str(head))
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "one examination" in " ".join(result.stderr.split())


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, head: Path) -> None:
    """With the words that install it."""

    def missing(_: EntryPoint) -> object:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(EntryPoint, "load", missing)
    result = run(str(head))
    assert result.exit_code == ExitCode.FAILED
    assert "pip install 'PATH_OF_BRAINMETS[inspect]'" in " ".join(result.stderr.split())


@pytest.mark.skipif(not STUDYFORREST.is_dir(), reason="needs the DICOM series of studyforrest in shared/data")
def test_a_folder_of_dicom_is_shown_with_what_its_files_say() -> None:
    """One series, whose contrast nothing establishes."""
    result = run(str(STUDYFORREST), "--json")
    (series,) = json.loads(result.stdout)["series"]
    assert result.exit_code == ExitCode.OK
    assert series["series_number"] == 401
    assert series["used"]
    assert series["contrast"] == "unknown"
