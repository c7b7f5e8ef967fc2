"""Which files of a path make a study, and the bytes in which they go out."""

import io
import zipfile
from pathlib import Path

import pytest

from brainmets.client import FileFormat, StudyFile, StudyPathError, find_study_files
from brainmets.client.study_files import list_names, names_left_alone

DICOM = bytes(128) + b"DICM" + b"slice"


def folder_of(tmp_path: Path, *names: str, content: bytes = b"") -> Path:
    """Make files of these names, and the folders they lie in."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sequence"), [("anything.nii.gz", None), ("a-t1c.nii.gz", "t1c"), ("a_T1N.nii", "t1n"), ("t1c.nii", "t1c")]
)
def test_a_nifti_file_is_what_its_name_says(tmp_path: Path, name: str, sequence: str | None) -> None:
    """Where it says nothing the service decides, and warns: an absent label is no evidence."""
    path = folder_of(tmp_path, name) / name
    assert find_study_files(path) == (StudyFile(path, sequence, FileFormat.NIFTI),)


def test_a_file_may_be_called_as_its_sequence_is(tmp_path: Path) -> None:
    """And nothing else; what only ends in the same letters is none."""
    folder = folder_of(tmp_path, "t1c.nii.gz", "T2F.nii", "at1n.nii.gz")
    assert [file.sequence for file in find_study_files(folder)] == ["t1c", "t2f"]


def test_a_folder_is_read_by_names(tmp_path: Path) -> None:
    """In the order of the networks' channels; other files are left alone."""
    folder = folder_of(tmp_path, "a-t2f.nii.gz", "a-t1c.nii.gz", "A_T1N.nii", "a-seg.nii.gz", "notes.txt")
    assert [file.sequence for file in find_study_files(folder)] == ["t1c", "t1n", "t2f"]


@pytest.mark.parametrize("names", [("PatA-t1c.nii.gz", "PatB-t2f.nii.gz"), ("PatA-t1c.nii.gz", "t2f.nii")])
def test_files_of_two_examinations_are_no_study(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Nor is a bare name beside another: to rename a file is little work, another patient's image in a result is not.

    Names that begin alike, whatever the case of their letters, are one examination's, and so are all that are bare.
    """
    with pytest.raises(StudyPathError, match=rf"one examination.*{names[0]}, {names[1]}; name them alike"):
        find_study_files(folder_of(tmp_path, *names))


def test_what_a_name_leaves_open_is_told(tmp_path: Path) -> None:
    """Images alone, of other formats too, and of a folder; a single file is sent whatever it is called."""
    folder = folder_of(tmp_path, "a-t1c.nii.gz", "a-seg.nii.gz", "a-t2f.MGZ", "flair.nii", "notes.txt")
    assert names_left_alone(folder, find_study_files(folder)) == ("a-seg.nii.gz", "a-t2f.MGZ", "flair.nii")
    lone = folder / "flair.nii"
    assert names_left_alone(lone, find_study_files(lone)) == ()


def test_a_dicom_file_is_sent_whatever_it_is_called(tmp_path: Path) -> None:
    """Scanners call theirs `.img`, too."""
    (tmp_path / "IM_0001.IMG").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "scout.mha").touch()
    assert names_left_alone(tmp_path, find_study_files(tmp_path)) == ("scout.mha",)


def test_a_sentence_lists_a_handful_of_names() -> None:
    """And none that could command a terminal."""
    assert list_names(["a", "b\x1b[2J"]) == "a, b [2J"
    assert list_names("abcdefgh") == "a, b, c, d, e and 3 more"


@pytest.mark.parametrize(
    "names",
    [(), ("notes.txt",), ("a-t2f.nii.gz",), ("a_t1ce.nii.gz",), ("a-t1c.nii.gz", "b-t1c.nii.gz")],
)
def test_a_folder_that_is_not_clear_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No T1c, or two of them."""
    with pytest.raises(StudyPathError):
        find_study_files(folder_of(tmp_path, *names))


def test_a_dicom_file_is_known_by_its_mark(tmp_path: Path) -> None:
    """Whatever it is called: most have no suffix."""
    path = folder_of(tmp_path, "IM000001", content=DICOM) / "IM000001"
    assert find_study_files(path) == (StudyFile(path, None, FileFormat.DICOM),)


def test_a_zip_archive_is_sent_as_it_is(tmp_path: Path) -> None:
    """The service looks for DICOM files in it."""
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1", DICOM)
    (file,) = find_study_files(path)
    assert file.file_format is FileFormat.DICOM_ZIP
    assert b"".join(file.chunks()) == path.read_bytes()
    assert file.size_bytes == len(path.read_bytes())


def test_a_folder_of_dicom_is_one_archive_of_all_that_is_in_it(tmp_path: Path) -> None:
    """However deep; what is not DICOM, and the directory that lists patients, stay here."""
    folder_of(tmp_path, "series 2/IM1", "series 1/deep/IM1", "series 1/IM2.dcm", "DICOMDIR", content=DICOM)
    folder_of(tmp_path, "README.txt", "series 1/short", content=b"DICM")
    (file,) = find_study_files(tmp_path)
    assert file.file_format is FileFormat.DICOM_ZIP
    assert len(file.members) == 3
    with zipfile.ZipFile(io.BytesIO(b"".join(file.chunks()))) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [DICOM] * 3


# With the class that makes it one, as pydicom writes it.
DIRECTORY = DICOM[:132] + b"\2\0\2\0UI\x14\x001.2.840.10008.1.3.10"


@pytest.mark.parametrize(
    ("name", "content"), [("DICOMDIR", DICOM), ("dicomdir", DICOM), ("DicomDir", DICOM), ("DICOMDIR;1", DIRECTORY)]
)
def test_a_directory_that_lists_patients_stays_here(tmp_path: Path, name: str, content: bytes) -> None:
    """However a disc was mounted; alone it is refused, and the sentence says what to give instead."""
    folder_of(tmp_path, name, f"deep/{name}", content=content)
    with pytest.raises(StudyPathError, match=r"got a DICOMDIR.*give the folder or the images instead"):
        find_study_files(tmp_path / name)
    with pytest.raises(StudyPathError, match="got none"):
        find_study_files(tmp_path)
    (file,) = find_study_files(folder_of(tmp_path, "IM1", content=DICOM))
    assert file.members == (tmp_path / "IM1",)


def test_no_name_of_a_folder_leaves_the_machine(tmp_path: Path) -> None:
    """A folder or file may be named for its patient."""
    (file,) = find_study_files(folder_of(tmp_path, "Doe^Jane/Doe-IM1", "Doe^Jane/Doe-IM2", content=DICOM))
    assert b"Doe" not in b"".join(file.chunks())


def test_nifti_beside_dicom_is_refused(tmp_path: Path) -> None:
    """Which of them is the study cannot be told; the sentence counts both."""
    folder_of(tmp_path, "dicom/IM1", "dicom/IM2", content=DICOM)
    folder_of(tmp_path, "a-t1c.nii.gz")
    with pytest.raises(StudyPathError, match="1 NIfTI and 2 DICOM"):
        find_study_files(tmp_path)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(128) + b"DIC", b"%PDF-1.4" + bytes(200)])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """By its bytes, before it is sent; the service takes no archive of NIfTI files, and none is asked for."""
    with pytest.raises(StudyPathError, match=r"a zip archive of DICOM files, got slice\.dcm"):
        find_study_files(folder_of(tmp_path, "slice.dcm", content=content) / "slice.dcm")


@pytest.mark.parametrize("name", ["brain.mgz", "t1c.nrrd", "t1c.mha", "t1c.hdr"])
def test_an_image_of_another_format_is_refused_with_how_to_convert_it(tmp_path: Path, name: str) -> None:
    """Before it is sent; the libraries that read them write NIfTI."""
    with pytest.raises(StudyPathError, match=rf"got {name}; convert"):
        find_study_files(folder_of(tmp_path, name, content=bytes(600)) / name)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The sentence names it."""
    with pytest.raises(StudyPathError, match="nowhere"):
        find_study_files(tmp_path / "nowhere")


def test_a_folder_whose_names_say_nothing_is_told_how_to_name_them(tmp_path: Path) -> None:
    """Most studies come under other names."""
    with pytest.raises(StudyPathError, match=r"name the T1 after contrast medium so.*or give that one file"):
        find_study_files(folder_of(tmp_path, "a_t1ce.nii.gz", "a_flair.nii.gz"))
