"""Python client of the brainmets service: needs grpcio and protobuf, nothing heavy.

>>> from brainmets.client import Client
>>> with Client("127.0.0.1:8500") as client:
...     segmentation = client.segment("study/")
...     segmentation.save("out/")

`AsyncClient` has the same methods as coroutines. Research use only; not for diagnosis.
"""

from brainmets.client.aio import AsyncClient
from brainmets.client.errors import MissingLibraryError, ResultsUnsavedError, ServiceError, StudyPathError, TlsFileError
from brainmets.client.images import files_of_images
from brainmets.client.jobs import Artifact, Job, JobState
from brainmets.client.models import Model, OperatingPoint
from brainmets.client.options import SegmentationOptions
from brainmets.client.results import Finding, Lesion, Segmentation, SeriesUse
from brainmets.client.study_files import FileFormat, StudyFile, find_study_files
from brainmets.client.sync import Client
from brainmets.client.tls import Tls

__all__ = [
    "Artifact",
    "AsyncClient",
    "Client",
    "FileFormat",
    "Finding",
    "Job",
    "JobState",
    "Lesion",
    "MissingLibraryError",
    "Model",
    "OperatingPoint",
    "ResultsUnsavedError",
    "Segmentation",
    "SegmentationOptions",
    "SeriesUse",
    "ServiceError",
    "StudyFile",
    "StudyPathError",
    "Tls",
    "TlsFileError",
    "files_of_images",
    "find_study_files",
]
