"""Owns what is asked of preprocessing: a study's stored files, checked as far as that goes without reading them."""

from dataclasses import dataclass

from brainmets.imaging.errors import InvalidArgumentError, MissingT1cError, StudyTooLargeError
from brainmets.imaging.series import SeriesSelection
from brainmets.imaging.tile_contract import TileContract
from brainmets.wire.stored_file import StoredFile

# The published contract's bound on FileHeader.file_index: a study of single DICOM instances.
MAX_FILES = 1024


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """A study to prepare.

    Attributes:
        job_id: For logs only.
        files: What was sent.
        contract: How the network wants its tiles.
        selections: Series chosen by hand.
        force: Whether a severe finding is told only, instead of refusing the study.
    """

    job_id: str
    files: tuple[StoredFile, ...]
    contract: TileContract
    selections: tuple[SeriesSelection, ...] = ()
    force: bool = False


def check_files(files: tuple[StoredFile, ...], *, max_study_bytes: int) -> None:
    """Refuse what is wrong before a byte of it is fetched.

    Raises:
        InvalidArgumentError: There are too many files, or two share a number.
        MissingT1cError: There is no file.
        StudyTooLargeError: The files together are larger than the service takes.
    """
    if not files:
        raise MissingT1cError(
            "The study has no file", expected="a file that holds the T1c", got="none", remedy="send the study's files"
        )
    if len(files) > MAX_FILES or len({file.file_index for file in files}) < len(files):
        raise InvalidArgumentError(
            "The study's files are not numbered",
            expected=f"at most {MAX_FILES} files, each with its own file_index",
            got=f"{len(files)} files",
            remedy="number the files of a study from 0; send many DICOM instances as one zip",
        )
    size_bytes = 0
    for file in files:
        size_bytes += file.size_bytes
        if size_bytes > max_study_bytes:
            raise StudyTooLargeError(
                "The study is too large",
                expected=f"at most {max_study_bytes} bytes",
                got=f"{size_bytes} bytes with this file",
                remedy="send one series for each sequence, compressed",
                file_index=file.file_index,
            )
