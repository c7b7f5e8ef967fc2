"""Owns the load: many studies queued at once, how fast they end, and what each process takes of memory and cores."""

import asyncio
import itertools
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from brainmets.client import AsyncClient, SegmentationOptions

QUEUED = (1, 8, 64)
LOOK_EVERY_S = 0.25
# Triton's backends, which compute.
NETWORKS = "triton_python_backend_stub"


@dataclass(slots=True)
class MemoryWatch:
    """The largest memory of each of the stack's processes while a block runs, in bytes, by what it is."""

    parent: psutil.Process
    peaks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            held: dict[str, int] = defaultdict(int)
            for process in self.parent.children(recursive=True):
                try:
                    held[_name(process)] += process.memory_info().rss
                except psutil.Error:
                    continue
            for name, held_bytes in held.items():
                self.peaks[name] = max(self.peaks[name], held_bytes)


def _name(process: psutil.Process) -> str:
    """Say what a process of the stack is."""
    words = " ".join(process.cmdline())
    for part in ("gateway api", "gateway worker", "preprocessing", "redis-server", NETWORKS):
        if part in words:
            return part
    return "tritonserver" if "tritonserver" in words else "others"


def cpu_seconds(supervisor: psutil.Process) -> dict[str, float]:
    """Return the CPU time that each kind of the stack's processes has taken since it started."""
    spent_s: dict[str, float] = defaultdict(float)
    for process in supervisor.children(recursive=True):
        try:
            times = process.cpu_times()
            spent_s[_name(process)] += times.user + times.system
        except psutil.Error:
            continue
    return spent_s


def find_supervisor(address: str) -> psutil.Process:
    """Return the process under which the stack that listens at an address runs."""
    port = int(address.rpartition(":")[2])
    listening = next(
        each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port
    )
    return next(each for each in psutil.Process(listening).parents() if "local.supervisor" in each.cmdline())


def uncached_options(model: str = "mean") -> Iterator[SegmentationOptions]:
    """Yield requests of which no two are alike: a study decided in the same way would come from the result cache."""
    first = 0.5 + time.time() % 1e-3
    return (SegmentationOptions(model=model, threshold=first + 1e-3 * number) for number in itertools.count())


def measure_load(
    study: Path, address: str, supervisor: psutil.Process, *, compute_s: Callable[[], float]
) -> list[dict]:
    """Return, for each number of queued studies, studies an hour, and what each kind of process takes.

    `compute_s` is the networks' own compute, which is measured before and after each number: a machine's speed wanders.
    What does not wander with it is the share of the cores' time that the networks had meanwhile.
    """
    rows = []
    before_s = compute_s()
    for queued in QUEUED:
        # Whoever stood idle before does not count.
        asyncio.run(_drain(study, address, 1))
        cpu_before_s = cpu_seconds(supervisor)
        with MemoryWatch(supervisor) as watch:
            seconds = asyncio.run(_drain(study, address, queued))
        cpu_s = {name: spent_s - cpu_before_s[name] for name, spent_s in cpu_seconds(supervisor).items()}
        after_s = compute_s()
        allowed_per_hour = 3600.0 / statistics.mean((before_s, after_s))
        before_s = after_s
        rows.append(
            {
                "queued": queued,
                "studies_per_hour": round(3600.0 * queued / seconds, 1),
                "of_what_compute_allows": round(3600.0 * queued / seconds / allowed_per_hour, 3),
                "compute_allows_per_hour": round(allowed_per_hour, 1),
                "networks_share_of_cores": round(cpu_s[NETWORKS] / seconds / len(os.sched_getaffinity(0)), 3),
                "cpu_s_a_study": {name: round(spent_s / queued, 3) for name, spent_s in sorted(cpu_s.items())},
                "peak_mib": {name: round(peak / 2**20) for name, peak in sorted(watch.peaks.items())},
            }
        )
    return rows


async def _drain(study: Path, address: str, queued: int) -> float:
    """Submit so many studies, and return the seconds from the first being queued to the last's end."""
    options = uncached_options()
    async with AsyncClient(address) as client:
        start_s = time.perf_counter()
        jobs = await asyncio.gather(*(client.submit(study, next(options)) for _ in range(queued)))
        await asyncio.gather(*(_end(client, job.job_id) for job in jobs))
        return time.perf_counter() - start_s


async def _end(client: AsyncClient, job_id: str) -> None:
    # Watched, because what is asked every so often seems to end later than it does.
    async for _ in client.watch(job_id):
        pass
