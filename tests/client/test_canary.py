"""The canary sings for a right answer, and falls silent for each wrong one."""

import asyncio
import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result
from typer.testing import CliRunner

from brainmets.client import AsyncClient, Segmentation, phantom
from brainmets.client.canary import find_faults
from brainmets.client.commands import app
from brainmets.client.endings import CanaryCode
from brainmets.client.phantom import Phantom
from brainmets.client.results import MASK_NAME, PROBABILITY_NAME
from brainmets.v1 import result_pb2
from gateway_bench import GatewayBench

# Bright noise is a lesion to the fake network: of phantoms drawn by the clock, two or three in a thousand have two
# neighbouring voxels of it (by hand, 4,000 of them, 2026-11-30).
SEED = 4


async def run(*arguments: str) -> Result:
    """Run the canary in another thread, beside the gateway."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["canary", *arguments])


@pytest.mark.parametrize("seed", [4, 5])
async def test_a_right_answer_is_one_line_and_leaves_nothing(bench: GatewayBench, seed: int) -> None:
    """On either side; the job is erased."""
    result = await run("--address", bench.address, "--seed", str(seed))
    assert result.exit_code == CanaryCode.RIGHT, result.stdout
    assert result.stdout.count("\n") == 1
    assert f"on the {Phantom(seed).side}" in result.stdout
    async with AsyncClient(bench.address) as client:
        assert [job async for job in client.jobs()] == []
    assert bench.sample("worker_test_studies_total") == 1


async def test_json_tells_the_duration_and_the_volumes(bench: GatewayBench) -> None:
    """For scripts."""
    result = await run("--address", bench.address, "--seed", str(SEED), "--json")
    report = json.loads(result.stdout)
    assert report["faults"] == []
    assert report["duration_s"] > 0
    assert report["found_volume_mm3"] == pytest.approx(report["true_volume_mm3"], rel=0.25)


async def test_a_lesion_that_is_not_found_is_a_wrong_answer(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from networks that see other things; the job is kept to be looked at."""
    monkeypatch.setattr(phantom, "LESION", phantom.BRAIN)
    result = await run("--address", bench.address, "--seed", str(SEED))
    assert result.exit_code == CanaryCode.WRONG_ANSWER
    assert "expected 1 lesion, got" in result.stdout
    async with AsyncClient(bench.address) as client:
        assert [job.job_id in result.stdout async for job in client.jobs()] == [True]


async def test_a_result_from_the_cache_is_a_wrong_answer(bench: GatewayBench) -> None:
    """It says nothing of the service of now."""
    async with AsyncClient(bench.address) as client:
        await client.segment(Phantom(SEED).study())
    result = await run("--address", bench.address, "--seed", str(SEED))
    assert result.exit_code == CanaryCode.WRONG_ANSWER
    assert "from the cache" in result.stdout


@pytest.mark.parametrize("words", [("--address", "127.0.0.1:1"), ("--timeout", "never"), ("--ca-file", "nothing.pem")])
async def test_no_answer_has_a_code_of_its_own(words: tuple[str, ...]) -> None:
    """Nobody listens, nothing was asked for, or there is no certificate to ask with."""
    assert (await run(*words)).exit_code == CanaryCode.NO_ANSWER


async def test_an_answer_too_late_is_none(bench: GatewayBench) -> None:
    """And says so, as JSON too."""
    bench.triton.delay_s = 5.0
    result = await run("--address", bench.address, "--timeout", "0.5", "--json")
    assert result.exit_code == CanaryCode.NO_ANSWER
    assert "within 0.5 s" in json.loads(result.stdout)["error"]


async def test_no_answer_at_all_is_to_be_looked_at_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that examines the same service."""

    async def answer_nothing(*_: object, **__: object) -> Segmentation:
        raise TimeoutError

    monkeypatch.setattr(AsyncClient, "segment", answer_nothing)
    result = await run("--address", "gateway:1", "--timeout", "0.5")
    assert result.exit_code == CanaryCode.NO_ANSWER
    assert "got none; see `brainmets doctor --address gateway:1`" in result.stdout


def change_header(name: str, form: str, at: int, *values: float) -> Callable[[Segmentation], Segmentation]:
    """Return what writes into a result file's NIfTI header."""

    def change(right: Segmentation) -> Segmentation:
        content = bytearray(gzip.decompress(right.files[name]))
        struct.pack_into(form, content, at, *values)
        return replace(right, files={**right.files, name: gzip.compress(bytes(content))})

    return change


def change_lesion(**fields: object) -> Callable[[Segmentation], Segmentation]:
    """Return what changes the one lesion."""
    return lambda right: replace(right, lesions=(replace(right.lesions[0], **fields),))


def leave_the_statement_out(right: Segmentation) -> Segmentation:
    """Return an answer that does not say what it may be used for."""
    report = result_pb2.SegmentationResult()
    report.CopyFrom(right.report)
    report.ClearField("intended_use")
    return replace(right, report=report)


WRONG = {
    "Research use only": leave_the_statement_out,
    "on the left, got right": change_lesion(side="right"),
    "within 25%, got 5000": change_lesion(volume_mm3=5000.0),
    "within 3 mm of the truth": change_lesion(centroid_mm=(22.0, 16.0, 10.0)),
    "expected 1 lesion, got 2": lambda right: replace(right, lesions=2 * right.lesions),
    "expected mask.nii.gz, got none": lambda right: replace(right, files={}),
    "expected mask.nii.gz with": change_header(MASK_NAME, "<h", 42, 7),
    "expected probability.nii.gz on the grid": change_header(PROBABILITY_NAME, "<f", 292, 9.0),
    "expected a mask of the": change_header(MASK_NAME, "<8B", 400, *8 * [1]),
}


async def test_each_fault_is_told(bench: GatewayBench) -> None:
    """One that is made in a right answer is the one that is found."""
    async with AsyncClient(bench.address) as client:
        right = await client.segment(Phantom(SEED).study())
    assert not list(find_faults(right, Phantom(SEED)))
    for words, change in WRONG.items():
        assert any(words in fault for fault in find_faults(change(right), Phantom(SEED))), words
