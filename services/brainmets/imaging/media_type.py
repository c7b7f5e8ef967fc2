"""Owns the names of the encodings that a study's files may have; what reads them is in `formats`."""

from enum import StrEnum


class MediaType(StrEnum):
    """Encoding of one file's bytes, by the name it has in the published contract."""

    NIFTI = "nifti"
    DICOM = "dicom"
    DICOM_ZIP = "dicom_zip"
