"""Owns the page of `brainmets app`: a study goes in, its lesions come out. Streamlit runs it from top to bottom."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from brainmets.client import Client, Job, Lesion, Model, Segmentation, SegmentationOptions, ServiceError, StudyPathError
from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.client.options import MODEL_CHOICES
from brainmets.client.received_study import ReceivedStudy
from brainmets.client.service_options import Service
from brainmets.client.terminal import progress_words

OVERLAY_NAME = "overlay.png"
_STUDY_WORDS = (
    "Study: NIfTI files named …-t1c.nii.gz, and maybe …-t1n …-t2w …-t2f; or DICOM files, loose or in one zip archive"
)
_MEAN = "mean"
_RESULT = "segmentation"


def read_service(text: str) -> Service:
    """Return the service that `brainmets app` was told to call."""
    fields = json.loads(text)
    files = {name: Path(fields[name]) for name in ("ca_file", "cert", "key") if fields[name]}
    return Service(**(fields | files))


def show_page(client: Client) -> None:
    """Show the form and, once a study was segmented, its result."""
    st.set_page_config(page_title="brainmets", layout="wide")
    st.title("Brain metastases in MRI")
    st.warning(RESEARCH_USE_ONLY, icon="⚠️")
    try:
        _show_form(client)
    except (ServiceError, StudyPathError) as error:
        st.error(str(error))
    if _RESULT in st.session_state:
        _show_result(st.session_state[_RESULT])


def _show_form(client: Client) -> None:
    models = client.models()
    with st.form("study"):
        uploads = st.file_uploader(_STUDY_WORDS, accept_multiple_files=True)
        left, right = st.columns(2)
        with left:
            model = st.selectbox("Networks", _choices(models), format_func=_name_choice)
        with right:
            points = list(dict.fromkeys(point.name for model in models for point in model.operating_points))
            point = st.selectbox("Operating point", points, index=points.index("balanced") if points else None)
        force = st.checkbox("Segment although a severe finding speaks against the study")
        sent = st.form_submit_button("Segment", type="primary")
    if sent:
        # What is shown belongs to the study that was sent, or nothing is.
        st.session_state.pop(_RESULT, None)
        options = SegmentationOptions(model=model, operating_point=point, force=force)
        st.session_state[_RESULT] = _segment(client, uploads, options)


def _choices(models: Sequence[Model]) -> list[str]:
    return [_MEAN, *(model.model_name for model in models if model.model_name in MODEL_CHOICES)]


def _name_choice(choice: str) -> str:
    return "mean of all" if choice == _MEAN else choice


def _segment(client: Client, uploads: Sequence[UploadedFile], options: SegmentationOptions) -> Segmentation:
    """Send a study and show how far it is until it has ended."""
    if not uploads:
        raise StudyPathError("expected a study, got no file; choose one first")
    bar = st.progress(0.0, "Sending")
    try:
        with ReceivedStudy() as received:
            for upload in uploads:
                received.path_for(upload.name).write_bytes(upload.getbuffer())
            job = client.submit(received.files(), options)
        for changed in client.watch(job.job_id):
            bar.progress(*progress_of(changed))
        return client.wait(job.job_id)
    finally:
        bar.empty()


def progress_of(job: Job) -> tuple[float, str]:
    """Return how much of a job is done, up to 1, and in words what is."""
    words = progress_words(job)
    if job.tiles_total:
        return job.tiles_done / job.tiles_total, f"{words}: {job.tiles_done} of {job.tiles_total} parts"
    return float(job.state.is_final), words


def _show_result(segmentation: Segmentation) -> None:
    st.subheader("Result")
    st.markdown(segmentation.statement)
    for finding in segmentation.findings:
        told = st.error if finding.severity == "severe" else st.warning
        told(f"{finding.message} [{finding.code}]")
    if segmentation.lesions:
        st.dataframe([_row(lesion) for lesion in segmentation.lesions], hide_index=True)
    st.caption(
        f"Networks: {', '.join(segmentation.models)}. Operating point: {segmentation.operating_point}. "
        f"Sequences: {', '.join(segmentation.sequences_used)}. {RESEARCH_USE_ONLY}"
    )
    picture, files = st.columns([4, 1])
    with picture:
        st.image(segmentation.files[OVERLAY_NAME])
    with files:
        for file_name, content in segmentation.files.items():
            st.download_button(file_name, content, file_name, on_click="ignore", icon=":material/download:")


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
