"""The command line against a running gateway: what it prints, writes and ends with."""

import asyncio
import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from brainmets.client.commands import ExitCode, app
from gateway_bench import GatewayBench, study_bytes


async def run(*arguments: str) -> Result:
    """Run a command in another thread, beside the gateway."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_segment_prints_the_lesions_and_writes_the_files(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """With the words that must not be missing."""
    out = tmp_path / "out"
    result = await run("segment", str(study), "--output", str(out), "--address", bench.address)
    assert result.exit_code == ExitCode.OK
    assert "1 lesion found" in result.stdout
    assert "Not for diagnosis" in result.stdout
    assert len(list(out.iterdir())) == 5


async def test_segment_prints_json(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """A script reads the result itself."""
    result = await run("segment", str(study), "--output", str(tmp_path / "out"), "--address", bench.address, "--json")
    assert len(json.loads(result.stdout)["lesions"]) == 1


async def test_jobs_and_models_are_listed(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """As JSON, for scripts."""
    await run("segment", str(study), "--output", str(tmp_path / "out"), "--address", bench.address)
    jobs = json.loads((await run("jobs", "--address", bench.address, "--json")).stdout)
    models = json.loads((await run("models", "--address", bench.address, "--json")).stdout)
    assert [job["state"] for job in jobs] == ["succeeded"]
    assert [model["model_name"] for model in models] == ["attention_unet", "nested_unet"]


async def test_tables_are_printed(bench: GatewayBench) -> None:
    """For people."""
    result = await run("models", "--address", bench.address)
    assert result.exit_code == ExitCode.OK
    assert "nested" in result.stdout


async def test_a_bad_study_is_one_sentence(bench: GatewayBench, tmp_path: Path) -> None:
    """And an exit code of its own."""
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(study_bytes()[:5000])
    result = await run("segment", str(path), "--address", bench.address)
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "MALFORMED_FILE" in result.stderr


async def test_a_path_with_nothing_to_send_is_one_sentence(tmp_path: Path) -> None:
    """No service is needed to know."""
    result = await run("segment", str(tmp_path), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "t1c" in result.stderr


async def test_no_service_is_one_sentence(study: Path) -> None:
    """With what to do."""
    result = await run("segment", str(study), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.UNREACHED
    assert "make up" in result.stderr
