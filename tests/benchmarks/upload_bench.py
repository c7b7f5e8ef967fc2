"""Owns the measurement of uploads, large, of many files and many at once: rate and the API's memory.

`make bench-upload` runs it; it asserts nothing.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.progress import track
from rich.table import Table
from study_bench import ROOT, describe_machine

from brainmets.client import AsyncClient, Client, FileFormat, StudyFile
from free_addresses import free_addresses
from redis_server import RedisServer

MIB = 1 << 20
# Files and their size: one, up to just below the largest study that is taken by default, 1 GiB, and a series of slices.
STUDIES = ((1, 64 * MIB), (1, 256 * MIB), (1, 1000 * MIB), (200, 150 << 10))
# A study of four sequences is half of it.
MANY, MANY_MIB = (1, 8, 64), 16
TIMES = 3
WAIT_S = 30.0


@contextmanager
def running_api(folder: Path, redis_url: str) -> Iterator[tuple[psutil.Process, str]]:
    """Run the API alone, as it is deployed, and give its process and its address."""
    addresses = free_addresses(2)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "services"),
        "BRAINMETS_ARTIFACT_URL": (folder / "artifacts").as_uri(),
        "BRAINMETS_REDIS_URL": redis_url,
        "BRAINMETS_LISTEN_ADDRESS": addresses[0],
        "BRAINMETS_HEALTH_ADDRESS": addresses[1],
        "BRAINMETS_METRICS_ADDRESS": "127.0.0.1:0",
        "BRAINMETS_TRITON_ADDRESS": "127.0.0.1:1",
    }
    command = (sys.executable, "-m", "brainmets.gateway", "api")
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(addresses[1]) as channel:
                request = health_pb2.HealthCheckRequest()
                health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=WAIT_S)
            yield psutil.Process(process.pid), addresses[0]
        finally:
            process.terminate()


def peak_mib(process: psutil.Process) -> float:
    """Return the most memory that a process ever held, MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="uploads of each size; their median is told")
    times = parser.parse_args().times
    title = f"One upload through the client, median of {times}"
    one = _table(title, "files", "MB", "disk alone MB/s", "client's CPU s")
    many = _table(f"Uploads of {MANY_MIB} MiB at once", "uploads", "MB each")
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        folder = Path(name)
        redis = RedisServer(folder)
        try:
            for count, size_bytes in track(STUDIES, "one", console=Console(stderr=True)):
                one.add_row(*measure(count, size_bytes, folder, redis.url, times=times))
            for count in track(MANY, "many", console=Console(stderr=True)):
                many.add_row(*measure_many(count, folder, redis.url))
        finally:
            redis.kill()
    console = Console()
    console.print(one, many, describe_machine(), sep="\n")


def _table(title: str, count: str, size: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (count, size, "MB/s", "API's peak, MiB", "API's CPU s", *others):
        table.add_column(heading, justify="right")
    return table


def measure(count: int, size_bytes: int, folder: Path, redis_url: str, *, times: int) -> tuple[str, ...]:
    """Return a line of the table: what an upload of so many files costs, to an API that did nothing else."""
    study = _write_study(folder, count, size_bytes)
    total_bytes = count * size_bytes
    seconds = []
    with running_api(folder, redis_url) as (api, address), Client(address) as client:
        idle_s, own_s = _cpu_s(api), time.process_time()
        for _ in range(times):
            start_s = time.monotonic()
            job = client.submit(study)
            seconds.append(time.monotonic() - start_s)
            client.delete(job.job_id)
        own_s = (time.process_time() - own_s) / times
        return (
            f"{count}",
            f"{total_bytes / 1e6:.0f}",
            f"{total_bytes / statistics.median(seconds) / 1e6:.0f}",
            f"{peak_mib(api):.0f}",
            f"{(_cpu_s(api) - idle_s) / times:.1f}",
            f"{disk_rate(folder, total_bytes):.0f}",
            f"{own_s:.1f}",
        )


def measure_many(count: int, folder: Path, redis_url: str) -> tuple[str, ...]:
    """Return a line of the table: what so many clients at once cost an API that did nothing else."""
    study = _write_study(folder, 1, MANY_MIB * MIB)

    async def upload(address: str) -> None:
        async with AsyncClient(address) as client:
            await client.submit(study)

    async def upload_all(address: str) -> None:
        await asyncio.gather(*(upload(address) for _ in range(count)))

    with running_api(folder, redis_url) as (api, address):
        idle_s, start_s = _cpu_s(api), time.monotonic()
        asyncio.run(upload_all(address))
        seconds = time.monotonic() - start_s
        each_mb = MANY_MIB * MIB / 1e6
        figures = (each_mb, count * each_mb / seconds, peak_mib(api))
        return (f"{count}", *(f"{figure:.0f}" for figure in figures), f"{_cpu_s(api) - idle_s:.1f}")


def _write_study(folder: Path, count: int, size_bytes: int) -> tuple[StudyFile, ...]:
    """Write files that nobody opens: an upload ends before its study is read."""
    paths = [folder / f"image-{number}" for number in range(count)]
    for path in paths:
        path.write_bytes(secrets.token_bytes(size_bytes))
    return tuple(StudyFile(path, file_format=FileFormat.DICOM) for path in paths)


def _cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def disk_rate(folder: Path, size_bytes: int) -> float:
    """Return the rate, MB/s, of writing as many bytes to the same disk in parts of 8 MiB, each synchronised."""
    part = secrets.token_bytes(8 * MIB)
    start_s = time.monotonic()
    for index in range(max(1, size_bytes // len(part))):
        path = folder / f"part-{index}"
        with path.open("wb") as file:
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    return size_bytes / (time.monotonic() - start_s) / 1e6


if __name__ == "__main__":
    main()
