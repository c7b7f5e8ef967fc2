"""Owns what Ctrl-C leaves behind: what became of the job, and what can be typed next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmets.client.errors import ServiceError
from brainmets.client.jobs import JobState

if TYPE_CHECKING:
    from rich.console import Console

    from brainmets.client.jobs import Job
    from brainmets.client.service_options import Service


@dataclass(frozen=True, slots=True)
class Interruption:
    """How an interrupted command ends.

    Attributes:
        sentence: What became of what it did.
        commands: What can be typed next, each as it is.
    """

    sentence: str = "interrupted"
    commands: tuple[str, ...] = ()


def cancel_job(service: Service, job: Job | None, console: Console) -> Interruption:
    """Cancel the job of a command that was interrupted, and say what became of it; a second Ctrl-C ends at once.

    Args:
        service: What the command called.
        job: What it last knew of its job; None before there was one.
        console: Shows that something goes on.
    """
    if job is None:
        return Interruption("interrupted before the service had the whole study; nothing goes on there")
    try:
        with console.status(f"Cancelling {job.job_id} (Ctrl-C: leave it)"), service.client() as client:
            job = client.cancel(job.job_id)
    except (ServiceError, KeyboardInterrupt):
        return Interruption(
            f"interrupted; job {job.job_id} may go on, for the service has not answered that it is cancelled",
            (service.command("cancel", job.job_id),),
        )
    if job.state is JobState.SUCCEEDED:
        return Interruption(
            f"interrupted; job {job.job_id} had succeeded already", (service.command("fetch", job.job_id),)
        )
    return Interruption(f"interrupted; job {job.job_id} is {job.state}")


def leave_job(service: Service, job_id: str) -> Interruption:
    """Say that a job which was only followed goes on."""
    return Interruption(
        f"interrupted; job {job_id} goes on",
        tuple(service.command(name, job_id) for name in ("watch", "fetch", "cancel")),
    )
