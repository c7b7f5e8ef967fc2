"""Which files of a path make a study."""

from pathlib import Path

import pytest

from brainmets.client import StudyPathError, find_study_files


def folder_of(tmp_path: Path, *names: str) -> Path:
    """Make a folder with files of these names."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_file_is_the_t1c(tmp_path: Path) -> None:
    """Whatever its name says."""
    path = folder_of(tmp_path, "anything.nii.gz") / "anything.nii.gz"
    assert [(file.path, file.sequence) for file in find_study_files(path)] == [(path, "t1c")]


def test_a_folder_is_read_by_names(tmp_path: Path) -> None:
    """In the order of the networks' channels; other files are left alone."""
    folder = folder_of(tmp_path, "a-t2f.nii.gz", "a-t1c.nii.gz", "b_T1N.nii", "a-seg.nii.gz", "notes.txt")
    assert [file.sequence for file in find_study_files(folder)] == ["t1c", "t1n", "t2f"]


@pytest.mark.parametrize(
    "names",
    [(), ("a-t2f.nii.gz",), ("a-t1c.nii.gz", "b-t1c.nii.gz")],
)
def test_a_folder_that_is_not_clear_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No T1c, or two of them."""
    with pytest.raises(StudyPathError):
        find_study_files(folder_of(tmp_path, *names))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """By its name, before it is sent."""
    with pytest.raises(StudyPathError, match=r"slice\.dcm"):
        find_study_files(folder_of(tmp_path, "slice.dcm") / "slice.dcm")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The sentence names it."""
    with pytest.raises(StudyPathError, match="nowhere"):
        find_study_files(tmp_path / "nowhere")
