"""A cohort against a running gateway: what is computed again, what is not, and what a bad line does."""

import asyncio
import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from brainmets import __version__
from brainmets.client import AsyncClient, SegmentationOptions, find_study_files, patience
from brainmets.client.cohort import CohortLine, Outcome, find_studies, segment_cohort, write_summary
from brainmets.client.study_digest import digest_study
from faulty_line import FaultyLine
from gateway_bench import GatewayBench, running_gateway, study_bytes

# What the table says of results.
TOLD = ("lesions", "volume_mm3", "operating_point", "software_version", "networks")


async def send(
    address: str, cohort: Path, out: Path, options: SegmentationOptions | None = None, waits: list[None] | None = None
) -> dict[str, CohortLine]:
    """Segment a cohort and return its lines by study; `waits` grows each time that the service is waited for."""
    await asyncio.to_thread(out.mkdir, exist_ok=True)
    async with AsyncClient(address) as client:
        lines = await segment_cohort(
            client,
            find_studies(cohort, output=out),
            options or SegmentationOptions(),
            output=out,
            on_line=lambda _: None,
            on_waiting=lambda: waits.append(None) if waits is not None else None,
        )
    return {line.study: line for line in lines}


async def count_jobs(address: str) -> int:
    """Return how many jobs there are."""
    async with AsyncClient(address) as client:
        return len([job async for job in client.jobs()])


@pytest.fixture
def cohort(study: Path, tmp_path: Path) -> Path:
    """A folder of one study."""
    shutil.copytree(study, tmp_path / "cohort" / "first")
    return tmp_path / "cohort"


async def test_a_study_that_was_mended_is_taken(bench: GatewayBench, cohort: Path, tmp_path: Path) -> None:
    """Other bytes are another request, though place and options are the same."""
    t1c = cohort / "first" / "patient-t1c.nii.gz"
    t1c.write_bytes(study_bytes()[:5000])
    assert (await send(bench.address, cohort, tmp_path / "out"))["first"].reason == "MALFORMED_FILE"
    t1c.write_bytes(study_bytes())
    assert (await send(bench.address, cohort, tmp_path / "out"))["first"].outcome is Outcome.SEGMENTED


async def test_results_of_another_patient_are_not_taken_for_a_studys_own(
    bench: GatewayBench, cohort: Path, tmp_path: Path
) -> None:
    """A name says nothing of what lies under it. They are replaced, and the table says so; then they are its own."""
    out, t1c = tmp_path / "out", cohort / "first" / "patient-t1c.nii.gz"
    before = (await send(bench.address, cohort, out))["first"]
    assert (before.outcome, before.reason) == (Outcome.SEGMENTED, "")
    t1c.write_bytes(study_bytes(lesion=False, seed=1))
    replaced = (await send(bench.address, cohort, out))["first"]
    assert (replaced.outcome, replaced.reason) == (Outcome.SEGMENTED, "STUDY_CHANGED")
    assert replaced.volume_mm3 != before.volume_mm3
    assert str(out / "first") in replaced.message
    report = json.loads((out / "first" / "report.json").read_text())
    assert report["inputSha256"] == digest_study(find_study_files(cohort / "first"))
    again = (await send(bench.address, cohort, out))["first"]
    assert (again.outcome, again.volume_mm3, again.reason) == (Outcome.DONE_BEFORE, replaced.volume_mm3, "")


async def test_results_stay_until_a_changed_study_has_others(bench: GatewayBench, cohort: Path, tmp_path: Path) -> None:
    """The table says of whom they are not."""
    out = tmp_path / "out"
    await send(bench.address, cohort, out)
    before = {path: path.read_bytes() for path in (out / "first").iterdir()}
    (cohort / "first" / "patient-t1c.nii.gz").write_bytes(study_bytes()[:5000])
    line = (await send(bench.address, cohort, out))["first"]
    assert (line.outcome, line.lesions, line.reason) == (Outcome.FAILED, None, "MALFORMED_FILE")
    assert line.message.endswith(f"; the results in {out / 'first'} are of an earlier run")
    assert {path: path.read_bytes() for path in (out / "first").iterdir()} == before


async def test_the_table_tells_what_decided_and_what_it_is_for(
    bench: GatewayBench, cohort: Path, tmp_path: Path
) -> None:
    """Studies that were done before may be of another release or other networks than the rest."""
    for _ in range(2):
        await send(bench.address, cohort, tmp_path / "out")
        (row,) = read_summary(tmp_path / "out")
        assert row["software_version"] == __version__
        assert re.fullmatch(r"nested_unet@[0-9a-f]{12} attention_unet@[0-9a-f]{12}", row["networks"])
        report = json.loads((tmp_path / "out" / "first" / "report.json").read_text())
        told = ("threshold", "minPeakProbability", "minLesionVolumeMm3")
        figures = ("threshold", "min_peak_probability", "min_lesion_volume_mm3")
        assert [float(row[name]) for name in figures] == [report[name] for name in told]
        assert row["intended_use"] == "Research use only. Not for diagnosis."


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1"])
def test_a_spreadsheet_computes_no_name(tmp_path: Path, name: str) -> None:
    """Behind an apostrophe it is text; other cells are as they are."""
    write_summary([CohortLine(name, Outcome.SEGMENTED, 1, 20.5), CohortLine("a=1", Outcome.FAILED)], tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert sorted(row[:4] for row in rows[1:]) == [[f"'{name}", "segmented", "1", "20.5"], ["a=1", "failed", "", ""]]


async def test_a_study_whose_name_is_a_formula_is_done_before(
    bench: GatewayBench, cohort: Path, tmp_path: Path
) -> None:
    """It is known by its folder, which bears its own name."""
    (cohort / "first").rename(cohort / "=1")
    for outcome in (Outcome.SEGMENTED, Outcome.DONE_BEFORE):
        assert (await send(bench.address, cohort, tmp_path / "out"))["=1"].outcome is outcome
    assert [row["study"] for row in read_summary(tmp_path / "out")] == ["'=1"]


async def test_another_try_is_found_again_too(idle: GatewayBench, cohort: Path, tmp_path: Path) -> None:
    """What failed is tried once more, and not twice where that run is stopped before its end."""
    (cohort / "first" / "patient-t1c.nii.gz").write_bytes(study_bytes()[:5000])
    out = tmp_path / "out"
    async with idle.working():
        await send(idle.address, cohort, out)
    # Nobody works on what these send, so that it cannot have failed when they find it.
    for _ in range(2):
        stopped = asyncio.create_task(send(idle.address, cohort, out))
        async with asyncio.timeout(30.0):
            while await count_jobs(idle.address) < 2:  # noqa: ASYNC110 -- the jobs are the service's
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        stopped.cancel()
        await asyncio.wait({stopped})
    assert await count_jobs(idle.address) == 2


async def test_results_of_other_options_are_not_taken_for_those_asked_for(
    bench: GatewayBench, cohort: Path, tmp_path: Path
) -> None:
    """They stay as they are, and so does what the table says of them, beside why they are not those asked for."""
    out = tmp_path / "out"
    await send(bench.address, cohort, out)
    (row,) = read_summary(out)
    told = {name: row[name] for name in TOLD}
    assert (told["lesions"], told["operating_point"]) == ("1", "balanced")
    for other, words in (
        (SegmentationOptions(operating_point="specific"), "operating point specific"),
        (SegmentationOptions(threshold=0.3), "threshold 0.3"),
        (SegmentationOptions(min_lesion_volume_mm3=20.0), "min_lesion_volume_mm3 20"),
        (SegmentationOptions(min_peak_probability=0.9), "min_peak_probability 0.9"),
        (SegmentationOptions(model="nested_unet"), "model nested_unet"),
    ):
        line = (await send(bench.address, cohort, out, other))["first"]
        assert (line.outcome, line.reason) == (Outcome.FAILED, "OTHER_OPTIONS")
        assert f"expected results of {words}, got those of " in line.message
        (row,) = read_summary(out)
        assert {name: row[name] for name in TOLD} == told
    for same in (SegmentationOptions(), SegmentationOptions(operating_point="balanced")):
        assert (await send(bench.address, cohort, out, same))["first"].outcome is Outcome.DONE_BEFORE


async def test_results_of_ones_own_figures_are_done_before(bench: GatewayBench, cohort: Path, tmp_path: Path) -> None:
    """With the same figures, and not without them."""
    own = SegmentationOptions(model="nested_unet", threshold=0.3, min_lesion_volume_mm3=20.0)
    for outcome in (Outcome.SEGMENTED, Outcome.DONE_BEFORE):
        assert (await send(bench.address, cohort, tmp_path / "out", own))["first"].outcome is outcome
    assert (await send(bench.address, cohort, tmp_path / "out"))["first"].reason == "OTHER_OPTIONS"


async def test_a_cohort_waits_for_a_line_that_is_gone(
    bench: GatewayBench, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No study fails for it, and that it waits is said once."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 1.0)
    monkeypatch.setattr(patience, "UNREACHED_PATIENCE_S", 1.0)
    for name in ("second", "third"):
        shutil.copytree(cohort / "first", cohort / name)
    async with FaultyLine(bench.address).open() as line:
        line.cut()
        waits: list[None] = []
        sending = asyncio.create_task(send(line.address, cohort, tmp_path / "out", waits=waits))
        # Longer than a call of its own would be repeated.
        await asyncio.sleep(5.0)
        assert not sending.done()
        line.mend()
        lines = await sending
    assert [each.outcome for each in lines.values()] == [Outcome.SEGMENTED] * 3
    assert len(waits) == 1


async def test_a_cohort_waits_for_a_service_that_is_full(redis_url: str, study: Path, tmp_path: Path) -> None:
    """There is room once another job has left the queue."""
    cohort = tmp_path / "cohort"
    shutil.copytree(study, cohort / "first")
    async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri(), max_queued_jobs=1) as bench:
        async with AsyncClient(bench.address) as client:
            queued = await client.submit(study)
            waits: list[None] = []
            sending = asyncio.create_task(send(bench.address, cohort, tmp_path / "out", waits=waits))
            async with asyncio.timeout(30.0):
                while not waits:  # noqa: ASYNC110 -- what is waited for is a list
                    await asyncio.sleep(0.05)
            await client.cancel(queued.job_id)
        async with bench.working():
            assert (await sending)["first"].outcome is Outcome.SEGMENTED
    assert len(waits) == 1


def read_summary(out: Path) -> list[dict[str, str]]:
    """Return the lines of a cohort's table."""
    return list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
