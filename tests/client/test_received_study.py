"""Files under names that others chose, in a folder that does not outlive them."""

from pathlib import Path

import pytest

from brainmets.client import StudyPathError
from brainmets.client.received_study import ReceivedStudy

IMAGE = bytes(128) + b"DICM"
NAMES = ["", ".", "..", "../../up", "..\\up", "/etc/passwd", "a\0b", "é" * 200, "t1c.nii.gz", "x" * 300, ".hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_nowhere_else(name: str) -> None:
    """It is written into the folder under some name, and the folder is removed."""
    with ReceivedStudy() as received:
        path = received.path_for(name)
        path.write_bytes(b"x")
        folder = path.parent
        assert [path] == list(folder.iterdir())
        assert folder.name.startswith("brainmets-")
    assert not folder.exists()


def test_what_a_name_says_of_its_sequence_is_kept() -> None:
    """As the service would be told of a folder of one's own."""
    with ReceivedStudy() as received:
        for name in (f"study/../{'é' * 300}-t1c.nii.gz", f"{'é' * 300}-t2f.nii"):
            received.path_for(name).write_bytes(b"x")
        assert [file.sequence for file in received.files()] == ["t1c", "t2f"]


def test_files_keep_the_order_in_which_they_came() -> None:
    """The number of a file that an error is about is then the sender's own."""
    with ReceivedStudy() as received:
        for sequence in ("t2f", "t1n", "t1c"):
            received.path_for(f"{sequence}.nii.gz").write_bytes(b"x")
        assert [file.sequence for file in received.files()] == ["t2f", "t1n", "t1c"]


def test_loose_slices_are_one_archive_in_whatever_order_they_came() -> None:
    """The same slices are the same bytes, whose result is known."""
    with ReceivedStudy() as received:
        for name in ("IM3", "IM1", "IM2"):
            received.path_for(name).write_bytes(IMAGE)
        (file,) = received.files()
        assert [path.name for path in file.members] == ["IM1", "IM2", "IM3"]


def test_two_patients_whose_names_are_no_ascii_are_two() -> None:
    """Though they are written under the same."""
    with ReceivedStudy() as received:
        for name in ("Müller-t1c.nii.gz", "Möller-t2f.nii.gz"):
            received.path_for(name).write_bytes(b"x")
        with pytest.raises(StudyPathError, match=r"got Müller-t1c\.nii\.gz, Möller-t2f"):
            received.files()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (("head-t1c.nii.gz", b"x"), ("Zoë flair.nii.gz", b"x")),
        (("head-t1c.nii.gz", b"x"), ("notes für alle.txt", b"x")),
        (("IM1", IMAGE), ("notes.txt", b"x")),
        (("IM1", IMAGE), ("study.zip", b"PK\x03\x04")),
    ],
)
def test_a_file_that_would_not_be_used_is_refused(first: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    """By the name under which it came: each was given by hand, and a result would say nothing of it."""
    with ReceivedStudy() as received:
        for name, content in (first, other):
            received.path_for(f"folder/{name}").write_bytes(content)
        with pytest.raises(StudyPathError, match=rf"got {other[0]}"):
            received.files()


def test_files_of_one_name_stay_two() -> None:
    """Series of one examination number their files alike."""
    with ReceivedStudy() as received:
        paths = [received.path_for(name) for name in ("2-IM1", "IM1", "first/IM1", "second/IM1", "")]
        assert len(set(paths)) == len(paths)


def test_no_directory_that_lists_patients_is_sent_on() -> None:
    """Not the second one either, which gets another name."""
    with ReceivedStudy() as received:
        for name in ("first/DICOMDIR", "second/DICOMDIR", "third/dicomdir", "first/IM1"):
            received.path_for(name).write_bytes(IMAGE)
        (file,) = received.files()
        assert [path.name for path in file.members] == ["IM1"]


def test_one_file_is_a_study_of_its_own() -> None:
    """Whatever it is called."""
    with ReceivedStudy() as received:
        received.path_for("head.nii.gz").write_bytes(b"x")
        (file,) = received.files()
        assert file.sequence is None


def test_an_error_tells_nothing_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is none of the sender's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ReceivedStudy() as received:
        for name in ("notes.txt", "more.txt"):
            received.path_for(name).write_text("no image")
        with pytest.raises(StudyPathError, match=r"got notes\.txt, more\.txt among 2 files") as raised:
            received.files()
    assert str(tmp_path) not in str(raised.value)
