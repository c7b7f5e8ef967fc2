"""Python client of the brainmets service: needs grpcio and protobuf, nothing heavy.

>>> from brainmets.client import Client
>>> with Client("127.0.0.1:8500") as client:
...     segmentation = client.segment("study/")
...     segmentation.save("out/")

`AsyncClient` has the same methods as coroutines. Research use only; not for diagnosis.
"""

from brainmets.client.aio import AsyncClient
from brainmets.client.errors import ServiceError, StudyPathError
from brainmets.client.results import (
    Artifact,
    Finding,
    Job,
    JobState,
    Lesion,
    Model,
    Segmentation,
    SegmentationOptions,
)
from brainmets.client.study_files import StudyFile, find_study_files
from brainmets.client.sync import Client

__all__ = [
    "Artifact",
    "AsyncClient",
    "Client",
    "Finding",
    "Job",
    "JobState",
    "Lesion",
    "Model",
    "Segmentation",
    "SegmentationOptions",
    "ServiceError",
    "StudyFile",
    "StudyPathError",
    "find_study_files",
]
