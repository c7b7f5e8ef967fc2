"""The help of the command line: its examples run as printed, and shells complete what it names."""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from brainmets.client import AsyncClient
from brainmets.client.commands import ShellName, app
from gateway_bench import GatewayBench

EXAMPLE = "Example: "
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # of a group
# They run until they are interrupted; tests of their own do.
ENDLESS = {"app", "rest", "serve"}
ASKING = {"bash": "COMP_WORDS", "zsh": "_TYPER_COMPLETE_ARGS", "fish": "_TYPER_COMPLETE_ARGS"}


def shown(*words: str) -> str:
    """Return what is printed in a terminal of 80 columns."""
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0
    return result.stdout


def examples(name: str) -> list[str]:
    """Return the examples in a command's help, as they are printed."""
    lines = [line.strip() for line in shown(name, "--help").splitlines()]
    return [line.removeprefix(EXAMPLE) for line in lines if line.startswith(EXAMPLE)]


@pytest.fixture
def shell(tmp_path: Path, study: Path) -> dict[str, str]:
    """An environment in which a shell finds our command; the study and a cohort lie beside it."""
    program = tmp_path / "bin" / "brainmets"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m brainmets.client "$@"\n')
    program.chmod(0o755)
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "first").symlink_to(study)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_an_example(name: str) -> None:
    """Of its own, unbroken; those that run until they are interrupted are read, and no more."""
    assert examples(name)
    assert all(f"{name} " in f"{example} " for example in examples(name))
    for example in examples(name) if name in ENDLESS else ():
        COMMANDS[name].make_context(name, shlex.split(example)[2:])


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - ENDLESS))
async def test_each_example_runs_as_printed(
    bench: GatewayBench, study: Path, shell: dict[str, str], tmp_path: Path, name: str
) -> None:
    """Where a job is meant, there is one."""
    async with AsyncClient(bench.address) as client:
        job_id = (await client.submit(study)).job_id
    for example in examples(name):
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", example.replace("JOB", job_id)],
            cwd=tmp_path,
            env=shell | {"BRAINMETS_ADDRESS": bench.address},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{example}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_nothing_is_shown_behind_an_option_without_a_value(name: str) -> None:
    """As if it took one."""
    assert "<bool>" not in shown(name, "--help")
    assert "<bool>" not in shown("--help")


@pytest.mark.parametrize("words", [("segment", "study", "--model", "foo"), ("completion", "foo")])
def test_a_name_that_is_none_is_refused_in_plain_words(words: tuple[str, ...]) -> None:
    """With those that there are, and nothing of the library that read it."""
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 2
    assert ": 'foo' is not one of '" in result.stderr


@pytest.mark.parametrize("name", list(ShellName))
def test_a_shell_is_taught_to_complete(shell: dict[str, str], name: str) -> None:
    """What is printed asks the command itself, which knows its commands and the values of its options."""
    assert f"_BRAINMETS_COMPLETE=complete_{name}" in shown("completion", name)
    program = str(shutil.which("brainmets", path=shell["PATH"]))
    asked = shell | {"_BRAINMETS_COMPLETE": f"complete_{name}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for words, completed in (("brainmets seg", "segment"), ("brainmets segment --model att", "attention_unet")):
        asking = {ASKING[name]: words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run([program], env=asked | asking, capture_output=True, text=True, check=False)
        assert completed in done.stdout, done.stderr
