"""The command line against a running gateway: what it prints, writes and ends with."""

import asyncio
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from brainmets import __version__
from brainmets.client import AsyncClient, Model
from brainmets.client.commands import app
from brainmets.client.endings import ExitCode, errors_end_the_command
from brainmets.client.errors import ServiceError
from brainmets.runtime.grpc_server import stop_server
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


async def test_segment_names_the_chosen_series(bench: GatewayBench, dicom_study: Path, tmp_path: Path) -> None:
    """And why another was left."""
    result = await run("segment", str(dicom_study), "--output", str(tmp_path / "out"), "--address", bench.address)
    assert result.exit_code == ExitCode.OK
    assert "localizer" in result.stdout


async def test_segment_prints_json(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """A script reads the result itself."""
    result = await run("segment", str(study), "--output", str(tmp_path / "out"), "--address", bench.address, "--json")
    assert len(json.loads(result.stdout)["lesions"]) == 1


async def test_json_tells_what_is_zero_or_empty_too(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """A script that counts lesions must not stumble over a study without any."""
    out = tmp_path / "out"
    no_lesion = ("--min-volume-mm3", "1000000")
    result = await run("segment", str(study), "-o", str(out), *no_lesion, "--address", bench.address, "--json")
    told = json.loads(result.stdout)
    assert told.pop("jobId")
    assert told["lesions"] == []
    assert told == json.loads((out / "report.json").read_text())


async def test_the_job_of_a_result_is_named(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """It can be fetched again, erased and told of."""
    command = ("segment", str(study), "--output", str(tmp_path / "out"), "--address", bench.address)
    shown = (await run(*command)).stdout
    told = json.loads((await run(*command, "--json")).stdout)["jobId"]
    listed = json.loads((await run("jobs", "--address", bench.address, "--json")).stdout)
    assert told == listed[0]["job_id"]
    assert listed[1]["job_id"] in shown


async def test_jobs_and_models_are_listed(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """As JSON, for scripts."""
    await run("segment", str(study), "--output", str(tmp_path / "out"), "--address", bench.address)
    jobs = json.loads((await run("jobs", "--address", bench.address, "--json")).stdout)
    models = json.loads((await run("models", "--address", bench.address, "--json")).stdout)
    assert [job["state"] for job in jobs] == ["succeeded"]
    assert [model["model_name"] for model in models] == ["attention_unet", "nested_unet"]


async def test_a_job_is_submitted_watched_fetched_and_cancelled(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """Its identifier is all that is printed, so that the next command can take it."""
    at = ("--address", bench.address)
    submitted = await run("submit", str(study), *at)
    job_id = submitted.stdout.strip()
    watched = await run("watch", job_id, *at)
    assert (watched.exit_code, watched.stdout.count("1 lesion found")) == (ExitCode.OK, 1)
    fetched = await run("fetch", job_id, "--output", str(tmp_path / "out"), *at)
    assert (fetched.exit_code, len(list((tmp_path / "out").iterdir()))) == (ExitCode.OK, 5)
    # It has ended: nothing is left to cancel.
    assert "had already succeeded" in (await run("cancel", job_id, *at)).stdout
    cancelled = await run("cancel", job_id, "--json", *at)
    assert json.loads(cancelled.stdout)["state"] == "succeeded"
    unknown = await run("watch", "no-such-job", *at)
    assert unknown.exit_code != ExitCode.OK
    assert "Traceback" not in unknown.stderr


async def test_a_cohort_is_segmented_and_goes_on_after_a_stop(bench: GatewayBench, study: Path, tmp_path: Path) -> None:
    """One study that cannot be read stops no other; a second run asks only for what is not there yet."""
    cohort, out = tmp_path / "cohort", tmp_path / "results"
    for name in ("first", "second"):
        shutil.copytree(study, cohort / name)
    (cohort / "broken.nii.gz").write_bytes(study_bytes()[:5000])
    command = ("submit", "--all", str(cohort), "--output", str(out), "--address", bench.address)
    first = await run(*command)
    assert first.exit_code == ExitCode.FAILED
    assert {path.name for path in out.iterdir()} == {"first", "second", "summary.csv"}
    assert len(list((out / "first").iterdir())) == 5
    assert "MALFORMED_FILE" in first.stdout
    shutil.rmtree(out / "second")
    await run(*command)
    lines = {line["study"]: line for line in csv.DictReader((out / "summary.csv").read_text().splitlines())}
    assert [lines[name]["outcome"] for name in ("broken.nii.gz", "first", "second")] == [
        "failed",
        "done before",
        "segmented",
    ]
    # The summary of a second run is that of the whole cohort.
    assert (lines["first"]["lesions"], lines["second"]["lesions"]) == ("1", "1")
    assert lines["first"]["volume_mm3"] == lines["second"]["volume_mm3"]
    jobs = json.loads((await run("jobs", "--address", bench.address, "--json")).stdout)
    # The second run found the job of the first one again, and tried the broken file once more.
    assert [job["state"] for job in jobs].count("succeeded") == 2


def make_unreadable(path: Path) -> Path:
    """Make a file that is found and opened, and whose reading fails: no process has memory at address 0."""
    path.symlink_to("/proc/self/mem")
    return path


async def test_a_study_of_a_cohort_that_cannot_be_read_is_a_line_of_its_own(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """The others go on, and the reason names no file."""
    cohort, out = tmp_path / "cohort", tmp_path / "results"
    shutil.copytree(study, cohort / "first")
    name = make_unreadable(cohort / "unreadable-t1c.nii.gz").name
    result = await run("submit", "--all", str(cohort), "--output", str(out), "--address", bench.address, "--json")
    assert result.exit_code == ExitCode.FAILED
    lines = {line["study"]: line for line in json.loads(result.stdout)}
    assert lines["first"]["outcome"] == "segmented"
    assert (lines[name]["outcome"], lines[name]["reason"]) == ("failed", "STUDY_UNREADABLE")
    assert "“Input/output error”" in lines[name]["message"]
    assert "t1c" not in lines[name]["message"]
    assert name in (out / "summary.csv").read_text()


async def test_results_of_a_cohort_that_cannot_be_written_are_one_sentence(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """As on a full disk; there is nothing to go on for."""
    cohort, out = tmp_path / "cohort", tmp_path / "results"
    shutil.copytree(study, cohort / "first")
    (out / "summary.part").mkdir(parents=True)
    result = await run("submit", "--all", str(cohort), "--output", str(out), "--address", bench.address)
    assert result.exit_code == ExitCode.FAILED
    assert "got “Is a directory”" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", ["segment", "submit"])
async def test_a_file_that_cannot_be_read_is_one_sentence(bench: GatewayBench, tmp_path: Path, command: str) -> None:
    """Also when that is found out while it is sent."""
    result = await run(command, str(make_unreadable(tmp_path / "a-t1c.nii.gz")), "--address", bench.address)
    assert result.exit_code == ExitCode.FAILED
    assert "expected a file that can be used, got “Input/output error”\n" in result.stderr


async def test_a_folder_that_holds_no_results_is_not_taken_for_them(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """It is told, and left as it is."""
    out = tmp_path / "results"
    (out / study.name).mkdir(parents=True)
    (tmp_path / "cohort").mkdir()
    shutil.copytree(study, tmp_path / "cohort" / study.name)
    result = await run("submit", "--all", str(tmp_path / "cohort"), "--output", str(out), "--address", bench.address)
    assert result.exit_code == ExitCode.FAILED
    assert "RESULTS_UNREADABLE" in (out / "summary.csv").read_text()


async def test_a_cohort_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    """No service is needed to know."""
    result = await run("submit", "--all", str(tmp_path), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "empty" in result.stderr


async def test_a_cohort_without_a_service_is_one_sentence(study: Path, tmp_path: Path) -> None:
    """And not one for each of its studies; nothing is written that looks like a result."""
    cohort, out = tmp_path / "cohort", tmp_path / "results"
    for name in ("first", "second"):
        shutil.copytree(study, cohort / name)
    result = await run("submit", "--all", str(cohort), "--output", str(out), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.UNREACHED
    assert result.stderr.count("make up") == 1
    assert not out.exists()


async def test_the_results_of_a_cohort_are_none_of_its_studies(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """They may lie in its folder; and --json is JSON."""
    cohort = tmp_path / "cohort"
    shutil.copytree(study, cohort / "first")
    command = ("submit", "--all", str(cohort), "--output", str(cohort / "out"), "--address", bench.address)
    for outcome in ("segmented", "done before"):
        lines = json.loads((await run(*command, "--json")).stdout)
        assert [(line["study"], line["outcome"]) for line in lines] == [("first", outcome)]


async def test_the_doctor_finds_a_healthy_machine(bench: GatewayBench) -> None:
    """Each network is named, and nothing need be done."""
    result = await run("doctor", "--address", bench.address, "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == ExitCode.OK
    assert {
        "Client",
        "Connection",
        "Service",
        "Network nested_unet",
        "Network attention_unet",
        "brainmets inspect",
    } <= set(checks)
    assert not any(check["remedy"] for check in checks.values())
    assert "nested_unet" in (await run("doctor", "--address", bench.address)).stdout


async def test_the_doctor_names_what_tries_the_whole_path(bench: GatewayBench) -> None:
    """Worker and preprocessing may be dead where API and networks answer; it can be copied."""
    shown = (await run("doctor", "--address", bench.address)).stdout
    assert f"brainmets canary --address {bench.address}\n" in shown


async def test_the_doctor_names_a_network_that_is_not_ready(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where to look."""
    ask = AsyncClient.models

    async def answer_not_ready(client: AsyncClient) -> tuple[Model, ...]:
        return tuple(replace(model, ready=False) for model in await ask(client))

    monkeypatch.setattr(AsyncClient, "models", answer_not_ready)
    result = await run("doctor", "--address", bench.address, "--json")
    remedies = {check["name"]: check["remedy"] for check in json.loads(result.stdout)}
    assert result.exit_code == ExitCode.FAILED
    assert "Triton log" in remedies["Network nested_unet"]
    assert not remedies["Service"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:8500"])
async def test_the_doctor_says_what_to_do_where_nothing_answers(address: str) -> None:
    """In one table, with an exit code that says so."""
    result = await run("doctor", "--address", address)
    assert result.exit_code == ExitCode.FAILED
    assert "--address" in result.stdout


@pytest.mark.parametrize("command", [("jobs",), ("doctor",), ("canary",), ("watch", "JOB")])
@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", ":8500"])
async def test_what_is_no_address_is_a_wrong_command_line(command: tuple[str, ...], address: str) -> None:
    """No service is looked for."""
    result = await run(*command, "--address", address)
    assert result.exit_code == 2
    assert f"got {address}" in result.stderr


async def test_the_doctor_knows_a_server_that_is_none_of_ours() -> None:
    """It is reached, and does not speak the contract."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await run("doctor", "--address", f"127.0.0.1:{port}", "--json")
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert not found["Connection"]["remedy"]
    assert found["Service"]["remedy"]
    assert result.exit_code == ExitCode.FAILED


async def test_an_operating_point_is_chosen_on_the_command_line(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """The report says which one decided, and its figures."""
    point = ("--operating-point", "specific")
    result = await run("segment", str(study), "-o", str(tmp_path / "out"), *point, "--address", bench.address)
    assert "specific, threshold 0.8" in " ".join(result.stdout.split())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["operatingPoint"] == "OPERATING_POINT_SPECIFIC"
    assert (report["threshold"], report["minLesionVolumeMm3"]) == (0.8, 30.0)


async def test_models_tell_their_operating_points_and_cards(bench: GatewayBench) -> None:
    """As JSON, for scripts; a network that is not there is one sentence."""
    models = json.loads((await run("models", "--address", bench.address, "--json")).stdout)
    assert models[0]["operating_points"][0] == {
        "name": "sensitive",
        "threshold": 0.2,
        "min_lesion_volume_mm3": 5.0,
        "min_peak_probability": 0.0,
    }
    card = await run("models", "--card", "nested_unet", "--address", bench.address)
    assert json.loads(card.stdout)["never_seen_in_training"] == ["haemorrhage"]
    unknown = await run("models", "--card", "unet", "--address", bench.address)
    assert unknown.exit_code != ExitCode.OK
    assert "UNKNOWN_MODEL" in unknown.stderr


@pytest.mark.parametrize(
    "command", [("segment", "STUDY"), ("fetch", "JOB"), ("submit", "--all", "COHORT"), ("doctor",)]
)
async def test_results_that_cannot_be_written_are_told_before_anything_is_sent(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A folder below a file, for one."""
    (tmp_path / "file").touch()
    result = await run(*command, "--output", str(tmp_path / "file" / "out"), "--address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "expected a folder for results, got a file" in " ".join(result.stderr.replace("│", " ").split())


async def test_a_folder_for_results_without_a_cohort_is_a_wrong_command_line(study: Path, tmp_path: Path) -> None:
    """Whoever names one expects results in it, and there would never be any."""
    result = await run("submit", str(study), "--output", str(tmp_path / "out"), "--address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "expected --all" in " ".join(result.stderr.replace("│", " ").split())


async def test_a_file_called_out_stands_in_nobodys_way(
    bench: GatewayBench, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the commands that write no results; a cohort is told of it before anything is sent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").touch()
    shutil.copytree(study, tmp_path / "cohort" / "first")
    for words in (("submit", str(study)), ("doctor",)):
        assert (await run(*words, "--address", bench.address)).exit_code == ExitCode.OK
    result = await run("submit", "--all", "cohort", "--address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "got a file" in " ".join(result.stderr.replace("│", " ").split())


async def test_results_do_not_go_among_the_studies_themselves(study: Path, tmp_path: Path) -> None:
    """A study's results are a folder of its name, which is there already; nothing is written or sent."""
    cohort = tmp_path / "cohort"
    shutil.copytree(study, cohort / "first")
    result = await run("submit", "--all", str(cohort), "--output", f"{cohort}/../cohort", "--address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "other than the studies'" in " ".join(result.stderr.replace("│", " ").split())
    assert [path.name for path in cohort.iterdir()] == ["first"]


@pytest.mark.parametrize(
    "option",
    [("--threshold", "0"), ("--threshold", "1"), ("--threshold", "nan"), ("--min-peak", "1"), ("--min-peak", "-0.1")],
    ids=" ".join,
)
async def test_a_probability_that_the_service_refuses_is_a_wrong_command_line(
    study: Path, option: tuple[str, str]
) -> None:
    """It is told before anything is sent; the study is not to blame."""
    result = await run("segment", str(study), *option, "--address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert f"got {float(option[1]):g}" in " ".join(result.stderr.replace("│", " ").split())


async def test_results_that_cannot_be_written_after_all_are_one_sentence(bench: GatewayBench, study: Path) -> None:
    """Nobody, not even root, makes a folder in /proc."""
    result = await run("segment", str(study), "--output", "/proc/brainmets", "--address", bench.address)
    assert result.exit_code == ExitCode.FAILED
    assert "got “No such file or directory”: /proc/brainmets" in " ".join(result.stderr.split())
    job_id = json.loads((await run("jobs", "--address", bench.address, "--json")).stdout)[0]["job_id"]
    command = f"brainmets fetch {job_id} --output /proc/brainmets --address {bench.address}"
    assert result.stderr.endswith(f"\n  {command}\n")
    again = await run(*shlex.split(command)[1:])
    assert again.stderr.endswith(f"\n  {command}\n")


async def test_a_study_of_a_cohort_that_cannot_be_written_can_be_fetched(
    bench: GatewayBench, study: Path, tmp_path: Path
) -> None:
    """From the service that has it."""
    shutil.copytree(study, tmp_path / "cohort" / "first")
    out = tmp_path / "results"
    out.mkdir()
    (out / "first").touch()
    result = await run("submit", "--all", str(tmp_path / "cohort"), "--output", str(out), "--address", bench.address)
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.endswith(f" --output {out / 'first'} --address {bench.address}\n")


async def test_tables_are_printed(bench: GatewayBench) -> None:
    """For people."""
    result = await run("models", "--address", bench.address)
    assert result.exit_code == ExitCode.OK
    assert "nested" in result.stdout


FULL_DISK = "/dev/full"


@pytest.mark.parametrize(
    "words",
    [
        ("segment", "STUDY", "--output", "OUT", "--json"),
        ("submit", "STUDY"),
        ("submit", "--all", "COHORT", "--output", "OUT", "--json"),
        ("watch", "JOB"),
        ("fetch", "JOB", "--output", "OUT"),
        ("cancel", "JOB"),
        ("jobs", "--json"),
        ("models",),
        ("doctor",),
    ],
    ids=" ".join,
)
async def test_an_answer_that_cannot_be_printed_is_one_sentence(
    bench: GatewayBench, study: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """As on a full disk, to which a script sends it."""
    shutil.copytree(study, tmp_path / "cohort" / "first")
    job_id = (await run("submit", str(study), "--address", bench.address)).stdout.strip()
    places = {"STUDY": str(study), "COHORT": str(tmp_path / "cohort"), "OUT": str(tmp_path / "out"), "JOB": job_id}
    command = [places.get(word, word) for word in (*words, "--address", bench.address)]
    with open(FULL_DISK, "w") as full:  # noqa: ASYNC230, PTH123 -- no bytes lie behind it
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "brainmets.client", *command, stdout=full, stderr=asyncio.subprocess.PIPE
        )
        _, told = await process.communicate()
    assert process.returncode == ExitCode.FAILED
    assert "got “No space left on device”" in " ".join(told.decode().split())
    assert "Traceback" not in told.decode()


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
async def test_an_answer_that_nobody_reads_ends_in_silence(bench: GatewayBench, form: tuple[str, ...]) -> None:
    """As with `brainmets jobs | true`."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "brainmets.client", "jobs", *form, "--address", bench.address,
        stdout=writing, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    assert await process.communicate() == (None, b"")


async def test_a_bad_study_is_one_sentence(bench: GatewayBench, tmp_path: Path) -> None:
    """And an exit code of its own."""
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(study_bytes()[:5000])
    result = await run("segment", str(path), "--address", bench.address)
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "MALFORMED_FILE" in result.stderr


async def test_the_file_that_an_error_is_about_is_named(bench: GatewayBench, study: Path) -> None:
    """By its name here, which never left this machine; the service knows its number alone."""
    (study / "patient-t2f.nii.gz").write_bytes(study_bytes()[:5000])
    result = await run("segment", str(study), "--address", bench.address)
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "(patient-t2f.nii.gz)" in result.stderr.replace("\n", " ")
    assert "file 1" not in result.stderr


@pytest.mark.parametrize("command", [("segment", "-o", "{out}"), ("submit",)], ids=["segment", "submit"])
async def test_files_that_are_left_alone_are_told(
    bench: GatewayBench, study: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Beside what a script reads: nobody else would say that they are not in the result."""
    for name in ("patient-seg.nii.gz", "patient-flair.nii"):
        (study / name).write_bytes(study_bytes())
    words = [word.format(out=tmp_path / "out") for word in command]
    result = await run(*words, str(study), "--json", "--address", bench.address)
    told = "Left alone, not named as NIfTI files of a sequence: patient-flair.nii, patient-seg.nii.gz\n"
    assert told in result.stderr
    assert json.loads(result.stdout)


async def test_a_path_with_nothing_to_send_is_one_sentence(tmp_path: Path) -> None:
    """No service is needed to know."""
    result = await run("segment", str(tmp_path), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "NIfTI or DICOM" in result.stderr


async def test_no_service_is_one_sentence(study: Path) -> None:
    """With what to do."""
    result = await run("segment", str(study), "--address", "127.0.0.1:1")
    assert result.exit_code == ExitCode.UNREACHED
    assert "make up" in result.stderr


@pytest.mark.parametrize("command", ["watch", "fetch", "cancel"])
async def test_a_job_of_a_service_out_of_reach_is_not_awaited(command: str) -> None:
    """Waiting for its end would wait for the service as well."""
    result = await asyncio.wait_for(run(command, "a-job", "--address", "127.0.0.1:1"), 30.0)
    assert result.exit_code == ExitCode.UNREACHED
    assert "nothing that listens there" in " ".join(result.stderr.split())


async def test_another_grpc_service_is_no_gateway() -> None:
    """Triton's port is one beside the gateway's."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    result = await run("jobs", "--address", f"127.0.0.1:{port}")
    await stop_server(server)
    assert result.exit_code == ExitCode.UNREACHED
    assert "another gRPC service" in " ".join(result.stderr.split())


async def test_the_version_is_told() -> None:
    """As every command line does."""
    assert (await run("--version")).stdout == f"brainmets {__version__}\n"


@pytest.mark.parametrize("text", ["t1c", "t1c=", "t1c=five", "flair=5", "t1c=99999999999", "=5"])
async def test_a_selection_that_is_none_is_a_wrong_command_line(tmp_path: Path, text: str) -> None:
    """It is told before anything is sent."""
    result = await run("segment", str(tmp_path), "--series", text)
    assert result.exit_code == 2
    assert "t1c=5" in result.stderr


async def test_a_series_that_is_not_there_is_told(bench: GatewayBench, study: Path) -> None:
    """The option reaches the service, whose answer is a sentence."""
    result = await run("segment", str(study), "--address", bench.address, "--series", "t1c=5", "--force")
    assert result.exit_code == ExitCode.BAD_STUDY
    assert "INVALID_ARGUMENT" in result.stderr


def test_a_study_refused_for_its_quality_can_be_forced(capsys: pytest.CaptureFixture[str]) -> None:
    """The user learns why, and that there is a way."""
    refusal = ServiceError(
        code=grpc.StatusCode.FAILED_PRECONDITION, reason="QUALITY_REFUSED", message="got NOT_A_HEAD", metadata={}
    )
    with pytest.raises(typer.Exit) as caught, errors_end_the_command(Console(stderr=True)):
        raise refusal
    assert caught.value.exit_code == ExitCode.BAD_STUDY
    printed = capsys.readouterr().err
    assert "NOT_A_HEAD" in printed
    assert "--force" in printed


def test_the_command_line_starts_without_what_reads_images() -> None:
    """A client that only sends need not have it, nor wait for it."""
    heavy = "{'numpy', 'SimpleITK', 'pydicom'}"
    code = f"import sys, brainmets.client.commands; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
