"""Owns how a study comes in over HTTP: a form of files and options."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import anyio
from fastapi import Form, HTTPException, Request
from starlette.datastructures import UploadFile

from brainmets.client import SegmentationOptions, StudyFile
from brainmets.client.arguments import ModelName, PointName, read_selections
from brainmets.client.received_study import ReceivedStudy

# Of an upload's files the small ones are held in memory, 1 MiB each at most; a long series comes as a zip archive.
MAX_FILES = 500
# The form has ten fields, of which `series` may be repeated for each of four sequences. They are held in memory too.
MAX_FIELDS = 32
MAX_FIELD_BYTES = 4096
_COPIED_BYTES = 1 << 20
_LONGEST_NAME = 40


async def read_options(  # noqa: PLR0913, PLR0917 -- the fields of a form
    model: Annotated[ModelName, Form(description="Which networks decide.")] = ModelName.MEAN,
    operating_point: Annotated[
        PointName | None, Form(description="What the decision leans to; balanced unless said.")
    ] = None,
    threshold: Annotated[
        float | None, Form(description="Probability from which a voxel belongs to the mask, inside (0, 1).")
    ] = None,
    min_lesion_volume_mm3: Annotated[float | None, Form(description="Smallest lesion kept, mm³.")] = None,
    min_peak_probability: Annotated[
        float | None, Form(description="Probability that a lesion's most certain voxel must reach, in [0, 1).")
    ] = None,
    deadline_s: Annotated[
        float | None, Form(ge=0, le=1e6, description="Time from acceptance to a final state, seconds.")
    ] = None,
    series: Annotated[
        list[str] | None, Form(description="SeriesNumber to take for a sequence, as t1c=5; may be repeated.")
    ] = None,
    force: Annotated[bool, Form(description="Segment although a severe finding speaks against the study.")] = False,  # noqa: FBT002 -- a field of a form
    test: Annotated[bool, Form(description="The study tests the service and is no patient's.")] = False,  # noqa: FBT002 -- a field of a form
) -> SegmentationOptions:
    """Return how to segment, as the form says it.

    Raises:
        typer.BadParameter: A series is not of the form t1c=5, or a sequence comes twice.
    """
    return SegmentationOptions(
        model=model,
        operating_point=operating_point,
        threshold=threshold,
        min_lesion_volume_mm3=min_lesion_volume_mm3,
        min_peak_probability=min_peak_probability,
        deadline_s=deadline_s,
        series=read_selections(series),
        force=force,
        test=test,
    )


async def refuse_other_forms(request: Request) -> None:
    """Refuse a form with a field that nobody reads: one that is misspelt would go unnoticed; and one without files.

    Raises:
        HTTPException: It is none of ours.
    """
    known = ("files", "request_id", *inspect.signature(read_options).parameters)
    form = await request.form()
    for name in form:
        if name not in known:
            # It may hold what no answer can.
            detail = f"expected no fields but {', '.join(known)}, got {name[:_LONGEST_NAME]!a}; leave it out or mend it"
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    files = form.getlist("files")
    if not files or not all(isinstance(file, UploadFile) for file in files):
        detail = (
            f"expected multipart/form-data with the study's files as files=…, got {'text there' if files else 'none'}; "
            "send each as a file, as curl does with -F files=@study-t1c.nii.gz"
        )
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


@asynccontextmanager
async def received_study(uploads: Sequence[UploadFile]) -> AsyncIterator[tuple[StudyFile, ...]]:
    """Keep uploads as files of a study while the block runs.

    Raises:
        StudyPathError: They make no study, or one of them would not be used.
    """
    with ReceivedStudy() as received:
        for upload in uploads:
            async with await anyio.open_file(received.path_for(upload.filename or ""), "wb") as stream:
                while chunk := await upload.read(_COPIED_BYTES):
                    await stream.write(chunk)
        yield await asyncio.to_thread(received.files)
