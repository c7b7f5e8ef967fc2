"""The page in front of a whole gateway, as Streamlit runs it."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from brainmets.client import AsyncClient
from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.client.service_options import Service
from brainmets.webapp.command import PAGE
from brainmets.webapp.page import FORCE_WORDS, progress_of, read_service
from free_addresses import free_addresses
from gateway_bench import GatewayBench, study_bytes, study_voxels
from preparation_bench import nifti_bytes

TIMEOUT_S = 60.0
OpenPage = Callable[[str], Awaitable[AppTest]]
Upload = tuple[str, bytes, str]
T1C: Upload = ("patient-t1c.nii.gz", study_bytes(), "application/gzip")
T2F: Upload = ("patient-t2f.nii.gz", study_bytes(), "application/gzip")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """Open the page as `brainmets app` has it opened for a service; it runs in a thread, beside the gateway."""

    async def open_for(address: str) -> AppTest:
        monkeypatch.setattr("sys.argv", [str(PAGE), json.dumps(asdict(Service(address)), default=str)])
        return await asyncio.to_thread(AppTest.from_file(str(PAGE), default_timeout=TIMEOUT_S).run)

    return open_for


async def segment(page: AppTest, *uploads: Upload) -> AppTest:
    """Send a study as a person does."""
    page.file_uploader[0].set_value(list(uploads))
    await asyncio.to_thread(page.button[0].click().run)
    assert not page.exception
    return page


def told(page: AppTest) -> str:
    """Return the error that a person reads, of which the page shows every character as it is."""
    markdown = page.error[0].value
    assert not re.search(r"[!-/:-@\[-`{-~]", re.sub(r"\\.", "", markdown))
    return re.sub(r"\\(.)", r"\1", markdown)


async def test_a_study_goes_in_and_its_lesions_come_out(bench: GatewayBench, open_page: OpenPage) -> None:
    """The statement, the table and every file, as the client has them; with the words that must not be missing."""
    page = await segment(await open_page(bench.address), T1C, T2F)
    async with AsyncClient(bench.address) as client:
        (job,) = [job async for job in client.jobs()]
        segmentation = await client.wait(job.job_id)
    assert segmentation.sequences_used == ("t1c", "t2f")
    assert page.markdown[0].value == segmentation.statement
    (lesion,) = segmentation.lesions
    row = page.dataframe[0].value.iloc[0]
    assert (row["Side"], row["Volume, mm³"]) == (lesion.side, round(lesion.volume_mm3))
    assert [button.label for button in page.get("download_button")] == list(segmentation.files)
    assert RESEARCH_USE_ONLY in page.warning[0].value
    assert not page.error


async def test_a_result_says_what_it_is_of_and_what_decided(bench: GatewayBench, open_page: OpenPage) -> None:
    """Files, job, every series and why, candidates, and the point at which was decided, as the command line does."""
    page = await segment(await open_page(bench.address), T2F, T1C)
    async with AsyncClient(bench.address) as client:
        (job,) = [job async for job in client.jobs()]
        segmentation = await client.wait(job.job_id)
    assert page.text[0].value == f"Result of: patient-t2f.nii.gz, patient-t1c.nii.gz\nJob: {job.job_id}"
    assert page.text[1].value.endswith(f"outside the brain: {segmentation.candidates_outside_brain}")
    rows = page.dataframe[1].value
    assert list(rows["Series"]) == ["patient-t2f.nii.gz", "patient-t1c.nii.gz"]
    assert list(rows["Why"]) == [use.message for use in segmentation.series]
    assert f"balanced, threshold {segmentation.threshold:g}, " in page.caption[0].value
    assert "Sequences: t1c (as stated), t2f (as stated)" in page.caption[0].value


async def test_the_bar_goes_forward_to_its_end(bench: GatewayBench, tmp_path: Path) -> None:
    """Through every change of a job, the last of which is no waiting."""
    study = tmp_path / "head-t1c.nii.gz"
    study.write_bytes(study_bytes())
    async with AsyncClient(bench.address) as client:
        job = await client.submit(study)
        shown = [progress_of(changed) async for changed in client.watch(job.job_id)]
    shares = [share for share, _ in shown]
    assert shares == sorted(shares)
    assert shown[-1] == (1.0, f"Done · job {job.job_id}")
    assert any(words.endswith(f"parts · job {job.job_id}") for _, words in shown)


async def test_what_is_chosen_reaches_the_service(bench: GatewayBench, open_page: OpenPage) -> None:
    """Networks and operating point, of those that it offers."""
    page = await open_page(bench.address)
    assert [box.value for box in page.selectbox] == ["mean", "balanced"]
    page.selectbox[0].select("nested_unet")
    page.selectbox[1].select("sensitive")
    await segment(page, T1C)
    assert "nested_unet. Operating point: sensitive" in page.caption[0].value


@pytest.mark.parametrize(
    ("uploads", "words"),
    [
        ((), "choose one first"),
        ((("notes.txt", b"no image", "text/plain"),), "expected a NIfTI file"),
        ((T1C, ("![Zoë](x) flair.nii.gz", study_bytes(), "application/gzip")), "got ![Zoë](x) flair.nii.gz"),
        ((("Zoë-t2f.nii.gz", study_bytes()[:5000], ""), ("Zoë-t1c.nii.gz", study_bytes(), "")), "(Zoë-t2f.nii.gz)"),
        ((("head-t1c.nii.gz", study_bytes()[:5000], "application/gzip"),), "expected"),
    ],
)
async def test_what_is_no_study_is_told(
    bench: GatewayBench, open_page: OpenPage, uploads: tuple[Upload, ...], words: str
) -> None:
    """In a sentence, here or by the service, and nothing is shown as a result."""
    page = await segment(await open_page(bench.address), *uploads)
    assert words in told(page)
    assert not page.subheader


async def test_a_study_refused_for_its_quality_is_told_of_the_box(bench: GatewayBench, open_page: OpenPage) -> None:
    """By the words that stand beside it; the page has no field of another name."""
    small = ("head-t1c.nii.gz", nifti_bytes(study_voxels(), spacing_mm=0.5), "application/gzip")
    page = await segment(await open_page(bench.address), small)
    assert f"or tick “{FORCE_WORDS}” and read" in told(page)
    page.checkbox[0].check()
    await asyncio.to_thread(page.button[0].click().run)
    assert page.subheader


async def test_a_result_is_not_shown_beside_another_study(bench: GatewayBench, open_page: OpenPage) -> None:
    """From when its files are others than those that it is of, before they are sent; until then it stays."""
    page = await segment(await open_page(bench.address), T1C)
    await asyncio.to_thread(page.run)
    assert page.subheader
    page.file_uploader[0].set_value([T1C, T2F])
    await asyncio.to_thread(page.run)
    assert not page.subheader
    assert not (await segment(page)).subheader


async def test_a_job_that_was_left_is_told(bench: GatewayBench, open_page: OpenPage) -> None:
    """Until another study is sent: nothing else on the page would name it."""
    page = await open_page(bench.address)
    page.session_state["job"] = "0123"
    await asyncio.to_thread(page.run)
    assert "`brainmets fetch 0123`" in page.info[0].value
    assert not (await segment(page, T1C)).info


async def test_a_service_that_is_away_is_told(open_page: OpenPage) -> None:
    """With what to do."""
    (nobody,) = free_addresses()
    page = await open_page(nobody)
    assert nobody in told(page)
    assert not page.exception


def test_the_page_calls_the_service_that_the_command_names() -> None:
    """With its files, whose paths travel as words."""
    service = Service("gateway:1", use_tls=True, ca_file=Path("ca.pem"))
    assert read_service(json.dumps(asdict(service), default=str)) == service
