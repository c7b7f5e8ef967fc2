"""The `brainmets` command line."""

# ruff: noqa: FBT002 -- typer makes options of a function's defaults

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # imported there for others

from brainmets import __version__
from brainmets.client import job_commands
from brainmets.client.arguments import (
    RESEARCH_USE_ONLY,
    AsJson,
    Force,
    Listen,
    MinPeak,
    MinVolume,
    ModelName,
    Networks,
    Output,
    Point,
    Selections,
    Study,
    Threshold,
    read_address,
    read_options,
    read_output,
    read_selections,
    read_study,
)
from brainmets.client.canary import CanaryReport, send_canary
from brainmets.client.doctor import Check, examine
from brainmets.client.endings import CanaryCode, ExitCode, errors_end_the_command
from brainmets.client.errors import ServiceError, TlsFileError
from brainmets.client.installed_commands import installed_command
from brainmets.client.interruption import cancel_job
from brainmets.client.phantom import Phantom
from brainmets.client.plain_help import PlainCommand, PlainGroup
from brainmets.client.service_options import Service, calls_service
from brainmets.client.terminal import (
    StudyProgress,
    files_by_name,
    model_report,
    print_text,
    show_checks,
    show_segmentation,
)

app = typer.Typer(help=f"Segment brain metastases in MRI. {RESEARCH_USE_ONLY}", no_args_is_help=True, cls=PlainGroup)
_command = partial(app.command, cls=PlainCommand)


def _print_version(asked: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if asked:
        typer.echo(f"brainmets {__version__}")
        raise typer.Exit


@app.callback()
def _brainmets(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
    ] = False,
) -> None:
    # Typer takes what all commands have in common from a function.
    return


@_command()
@calls_service
def segment(  # noqa: PLR0913, PLR0917 -- the options of a command line
    study: Study,
    service: Service,
    output: Output = Path("out"),
    model: Networks = ModelName.MEAN,
    operating_point: Point = None,
    threshold: Threshold = None,
    min_volume_mm3: MinVolume = None,
    min_peak: MinPeak = None,
    series: Selections = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Segment one study and write mask, probability, report, lesion table and picture.

    Example: brainmets segment study/ --output out/
    """
    options = read_options(
        model,
        operating_point,
        threshold=threshold,
        min_volume_mm3=min_volume_mm3,
        min_peak=min_peak,
        series=series,
        force=force,
    )
    console = Console(stderr=True)
    with errors_end_the_command(console):
        files = read_study(study, console)
        progress = StudyProgress(console, total_bytes=sum(file.size_bytes for file in files))
    with errors_end_the_command(console, service, interrupted=lambda: cancel_job(service, progress.job, console)):
        with files_by_name(files), progress, service.client() as client:
            segmentation = client.segment(files, options, on_progress=progress.changed, on_sent=progress.sent)
        show_segmentation(segmentation, as_json=as_json, paths=segmentation.save(output))


_command()(job_commands.submit)
_command()(job_commands.watch)
_command()(job_commands.fetch)
_command()(job_commands.cancel)
_command()(job_commands.jobs)


@_command()
def inspect(study: Study, series: Selections = None, as_json: AsJson = False) -> None:
    """Show what of a study would be read, and why, without sending anything.

    Example: brainmets inspect study/
    """
    selections = read_selections(series)
    with errors_end_the_command(Console(stderr=True)):
        readable = installed_command("inspect")(study, selections, as_json=as_json)
    raise typer.Exit(ExitCode.OK if readable else ExitCode.BAD_STUDY)


@_command()
def serve(
    redis: Annotated[str, typer.Option(metavar="URL", help="A Redis that runs already.")] = "redis://127.0.0.1:6379/0",
    triton: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A Triton that runs already, gRPC.")
    ] = "127.0.0.1:8001",
    artifacts: Annotated[
        str, typer.Option(metavar="DIR|URL", help="Folder or object store for studies and results.")
    ] = "artifacts",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the API is served.", callback=read_address)
    ] = "127.0.0.1:8500",
) -> None:
    """Run API, worker and preprocessing on this machine until Ctrl-C; BRAINMETS_* variables set the rest.

    Example: brainmets serve --triton 127.0.0.1:8001 --artifacts artifacts/
    """
    with errors_end_the_command(Console(stderr=True)):
        command = installed_command("serve")
        ended_in_order = command(address=address, redis_url=redis, triton_address=triton, artifacts=artifacts)
    raise typer.Exit(ExitCode.OK if ended_in_order else ExitCode.FAILED)


@_command()
@calls_service
def rest(
    service: Service,
    listen: Listen = "127.0.0.1:8080",
    max_study_bytes: Annotated[int, typer.Option(min=1, metavar="N", help="Largest request taken, bytes.")] = 1 << 30,
) -> None:
    """Offer the service over HTTP and JSON until Ctrl-C; without authentication, for this machine or behind a proxy.

    Example: brainmets rest --listen 127.0.0.1:8080
    """
    with errors_end_the_command(Console(stderr=True), service):
        installed_command("rest")(service, listen=listen, max_study_bytes=max_study_bytes)


@_command(name="app")
@calls_service
def webapp(service: Service, listen: Listen = "127.0.0.1:8081") -> None:
    """Offer a page for people until Ctrl-C; without authentication, for this machine.

    Example: brainmets app --listen 127.0.0.1:8081
    """
    with errors_end_the_command(Console(stderr=True), service):
        installed_command("app")(service, listen=listen)


@_command()
@calls_service
def doctor(
    service: Service,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for results; this one unless said.", callback=read_output
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with this machine or its service, and how to mend it.

    Example: brainmets doctor
    """
    with errors_end_the_command(Console(stderr=True), service):
        checks = asyncio.run(_examine(service, output or Path.cwd()))
        if as_json:
            print_text(json.dumps([asdict(check) for check in checks]))
        else:
            show_checks(checks, next_command=service.command("canary"))
    raise typer.Exit(ExitCode.FAILED if any(check.fails for check in checks) else ExitCode.OK)


async def _examine(service: Service, output: Path) -> tuple[Check, ...]:
    async with service.async_client() as client:
        return await examine(client, service.address, output=output)


@_command()
@calls_service
def canary(
    service: Service,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.0, metavar="S", help="Longest wait for the answer, s.")
    ] = 300.0,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draws the phantom; by default another one each time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a drawn head with a known lesion and examine the answer. Exit: 0 right, 1 wrong answer, 2 no answer.

    Example: brainmets canary --json
    """
    # Never the same twice, whoever else sends one: a result of the cache would prove nothing.
    phantom = Phantom(time.time_ns() if seed is None else seed)
    try:
        report = asyncio.run(_send_canary(service, phantom, timeout_s))
    except (ServiceError, TlsFileError, TimeoutError) as error:
        reason = str(error) or f"expected an answer within {timeout_s:g} s, got none; see `{service.command('doctor')}`"
        typer.echo(json.dumps({"seed": phantom.seed, "error": reason}) if as_json else f"canary unanswered: {reason}")
        raise typer.Exit(CanaryCode.NO_ANSWER) from None
    except KeyboardInterrupt:
        typer.echo("brainmets: interrupted; the canary's study is cancelled", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    typer.echo(json.dumps(asdict(report)) if as_json else report.words)
    raise typer.Exit(CanaryCode.WRONG_ANSWER if report.faults else CanaryCode.RIGHT)


async def _send_canary(service: Service, phantom: Phantom, timeout_s: float) -> CanaryReport:
    async with service.async_client() as client:
        return await send_canary(client, phantom, timeout_s=timeout_s)


@_command()
@calls_service
def models(
    service: Service,
    card: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the model card of this network, JSON, instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks the service uses.

    Example: brainmets models --card nested_unet
    """
    with errors_end_the_command(Console(stderr=True), service), service.client() as client:
        if card is not None:
            print_text(json.dumps(client.model_card(card), indent=2, ensure_ascii=False))
        elif as_json:
            print_text(json.dumps([asdict(model) for model in client.models()]))
        else:
            Console().print(model_report(client.models()))


class ShellName(StrEnum):
    """Shells that can complete our command line."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@_command()
def completion(
    shell: Annotated[ShellName, typer.Argument(metavar="SHELL", help=f"One of {', '.join(ShellName)}.")],
) -> None:
    """Print what teaches a shell to complete our commands and options; --install-completion does it for this one.

    Example: source <(brainmets completion bash)
    """
    typer.echo(get_completion_script(prog_name="brainmets", complete_var="_BRAINMETS_COMPLETE", shell=shell))
