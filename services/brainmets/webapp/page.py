"""Owns the page of `brainmets app`: a study goes in, its lesions come out. Streamlit runs it from top to bottom."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from brainmets.client import (
    Client,
    Job,
    Lesion,
    Model,
    Segmentation,
    SegmentationOptions,
    SeriesUse,
    ServiceError,
    StudyFile,
    StudyPathError,
)
from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.client.endings import QUALITY_REFUSED
from brainmets.client.options import MODEL_CHOICES
from brainmets.client.received_study import ReceivedStudy
from brainmets.client.service_options import Service
from brainmets.client.study_files import list_names
from brainmets.client.terminal import files_by_name, point_words, progress_words, sequence_words

OVERLAY_NAME = "overlay.png"
_STUDY_WORDS = (
    "Study: NIfTI files named …-t1c.nii.gz, and maybe …-t1n …-t2w …-t2f; or DICOM files, loose or in one zip archive"
)
FORCE_WORDS = "Segment although a severe finding speaks against the study"
# What the service calls that box.
_FORCE_FIELD = "set `force`"
_MEAN = "mean"
# Of a session: the result that is shown, and the job whose result has not been shown.
_RESULT, _JOB = "result", "job"


@dataclass(frozen=True, slots=True)
class Result:
    """A segmented study and what it is of.

    Attributes:
        segmentation: What was found.
        uploads: Streamlit's identifiers of the uploads, in their order.
        names: The names of all uploads.
        files: What was sent of them, under their names.
    """

    segmentation: Segmentation
    uploads: tuple[str, ...]
    names: tuple[str, ...]
    files: tuple[StudyFile, ...]


def read_service(text: str) -> Service:
    """Return the service that `brainmets app` was told to call."""
    fields = json.loads(text)
    files = {name: Path(fields[name]) for name in ("ca_file", "cert", "key") if fields[name]}
    return Service(**(fields | files))


def show_page(client: Client) -> None:
    """Show the form and, once a study was segmented, its result for as long as its files are those in the form."""
    st.set_page_config(page_title="brainmets", layout="wide")
    st.title("Brain metastases in MRI")
    st.warning(RESEARCH_USE_ONLY, icon="⚠️")
    # In no form, which would keep from us that other files were chosen.
    uploads = st.file_uploader(_STUDY_WORDS, accept_multiple_files=True)
    if _RESULT in st.session_state and st.session_state[_RESULT].uploads != _identify(uploads):
        del st.session_state[_RESULT]
    form, below = st.container(), st.empty()
    try:
        with form:
            options = _ask_options(client)
        if options is not None:
            # What is shown belongs to the study that was sent, or nothing is.
            st.session_state.pop(_RESULT, None)
            st.session_state.pop(_JOB, None)
            st.session_state[_RESULT] = _segment(client, uploads, options, below)
    except StudyPathError as error:
        st.error(_plain(str(error)))
    except ServiceError as error:
        if not error.is_transient:
            st.session_state.pop(_JOB, None)
        st.error(_plain(_words_of(error)))
    if _RESULT in st.session_state:
        with below.container():
            _show_result(st.session_state[_RESULT])
        st.session_state.pop(_JOB, None)
    elif _JOB in st.session_state:
        # Something was changed on the page meanwhile, or the line broke.
        job_id = st.session_state[_JOB]
        st.info(f"Job {job_id} goes on without this page; `brainmets fetch {job_id}` has its result.")


def _identify(uploads: Iterable[UploadedFile]) -> tuple[str, ...]:
    return tuple(upload.file_id for upload in uploads)


def _ask_options(client: Client) -> SegmentationOptions | None:
    """Return how to segment, once that is asked for."""
    models = client.models()
    with st.form("study"):
        left, right = st.columns(2)
        with left:
            model = st.selectbox("Networks", _choices(models), format_func=_name_choice)
        with right:
            points = list(dict.fromkeys(point.name for model in models for point in model.operating_points))
            point = st.selectbox("Operating point", points, index=points.index("balanced") if points else None)
        force = st.checkbox(FORCE_WORDS)
        asked = st.form_submit_button("Segment", type="primary")
    return SegmentationOptions(model=model, operating_point=point, force=force) if asked else None


def _choices(models: Sequence[Model]) -> list[str]:
    return [_MEAN, *(model.model_name for model in models if model.model_name in MODEL_CHOICES)]


def _name_choice(choice: str) -> str:
    return "mean of all" if choice == _MEAN else choice


def _segment(
    client: Client, uploads: Sequence[UploadedFile], options: SegmentationOptions, place: DeltaGenerator
) -> Result:
    """Send a study and show how far it is until it has ended."""
    if not uploads:
        raise StudyPathError("expected a study, got no file; choose one first")
    bar = place.progress(0.0, "Sending")
    try:
        with ReceivedStudy() as received:
            for upload in uploads:
                received.path_for(upload.name).write_bytes(upload.getbuffer())
            files = received.files()
            # Either one archive of all, or as many as were uploaded.
            named = tuple(replace(file, path=Path(upload.name)) for file, upload in zip(files, uploads, strict=False))
            with files_by_name(named):
                job = client.submit(files, options)
        st.session_state[_JOB] = job.job_id
        for changed in client.watch(job.job_id):
            bar.progress(*progress_of(changed))
        with files_by_name(named):
            segmentation = client.wait(job.job_id)
    finally:
        bar.empty()
    return Result(segmentation, _identify(uploads), tuple(upload.name for upload in uploads), named)


def progress_of(job: Job) -> tuple[float, str]:
    """Return how much of a job is done, up to 1, and in words what is, and which job it is."""
    words, share = progress_words(job), float(job.state.is_final)
    if job.tiles_total:
        words, share = f"{words}: {job.tiles_done} of {job.tiles_total} parts", job.tiles_done / job.tiles_total
    return share, f"{words} · job {job.job_id}"


def _words_of(error: ServiceError) -> str:
    """Return an error's sentence; what it says of a request's field is said of our box."""
    if error.reason == QUALITY_REFUSED:
        return error.message.replace(_FORCE_FIELD, f"tick “{FORCE_WORDS}”")
    return error.message


def _plain(text: str) -> str:
    """Return a text as Markdown that shows it as it is: it may hold the names of files, and they anything."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _show_result(result: Result) -> None:
    segmentation = result.segmentation
    st.subheader("Result")
    st.text(f"Result of: {list_names(result.names)}\nJob: {segmentation.job.job_id}")
    st.markdown(segmentation.statement)
    for finding in segmentation.findings:
        told = st.error if finding.severity == "severe" else st.warning
        told(_plain(f"{finding.message} [{finding.code}]"))
    if segmentation.lesions:
        st.dataframe([_row(lesion) for lesion in segmentation.lesions], hide_index=True)
    st.text(f"Candidates left out because outside the brain: {segmentation.candidates_outside_brain}")
    st.dataframe([_series_row(use, result.files) for use in segmentation.series], hide_index=True)
    st.caption(_origin(segmentation))
    picture, files = st.columns([4, 1])
    with picture:
        st.image(segmentation.files[OVERLAY_NAME])
    with files:
        for file_name, content in segmentation.files.items():
            st.download_button(file_name, content, file_name, on_click="ignore", icon=":material/download:")


def _origin(segmentation: Segmentation) -> str:
    """Return what decided, and upon what."""
    return (
        f"Networks: {', '.join(segmentation.models)}. Operating point: {point_words(segmentation)}, smallest lesion "
        f"{segmentation.min_lesion_volume_mm3:g} mm³. Sequences: {sequence_words(segmentation)}. {RESEARCH_USE_ONLY}"
    )


def _series_row(use: SeriesUse, files: Sequence[StudyFile]) -> dict[str, str]:
    # An archive of many files has no name of its own; its series have numbers.
    named = use.file_index < len(files) and not files[use.file_index].members
    return {
        "Series": str(use.number) if use.number is not None else files[use.file_index].path.name if named else "",
        "Taken": "yes" if use.used else "no",
        "Why": use.message,
        "Voxels": " x ".join(str(size) for size in use.shape),
        "Spacing, mm": " x ".join(f"{step:.2f}" for step in use.spacing_mm),
    }


def _row(lesion: Lesion) -> dict[str, int | float | str]:
    return {
        "Lesion": lesion.label,
        "Side": lesion.side,
        "Volume, mm³": round(lesion.volume_mm3),
        "Longest axial, mm": round(lesion.longest_axial_diameter_mm, 1),
        "Perpendicular, mm": round(lesion.perpendicular_axial_diameter_mm, 1),
        "Longest in 3-D, mm": round(lesion.longest_diameter_mm, 1),
        "Mean probability": round(lesion.mean_probability, 2),
    }


if __name__ == "__main__":
    with read_service(sys.argv[1]).client() as opened:
        show_page(opened)
