"""The gateway's two processes themselves: they start, answer probes, and stop when told to."""

import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from brainmets.gateway.api import API_PARTS
from brainmets.runtime.metric_contract import JOBS_ACCEPTED, MODEL_DIGEST, Service
from certificates import write_certificate
from free_addresses import free_addresses
from metric_pages import built_page, read_page
from redis_server import RedisServer

SERVICES = Path(__file__).parents[2] / "services"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
WAIT_S = 30.0


@pytest.fixture
def environment(tmp_path: Path, redis_url: str) -> dict[str, str]:
    """Settings of a process on free ports, with a Redis and no Triton."""
    names = ("LISTEN", "HEALTH", "METRICS", "TRITON", "PREPROCESSING")
    addresses = dict(zip(names, free_addresses(len(names)), strict=True))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(SERVICES), os.environ.get("PYTHONPATH", ""))),
        "BRAINMETS_ARTIFACT_URL": (tmp_path / "artifacts").as_uri(),
        "BRAINMETS_REDIS_URL": redis_url,
        **{f"BRAINMETS_{name}_ADDRESS": address for name, address in addresses.items()},
    }


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that is valid for ten days."""
    return write_certificate(tmp_path / "tls.crt", expires=datetime.now(UTC) + timedelta(days=10))


@contextmanager
def started(name: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process, and end it afterwards whatever happens."""
    command = (sys.executable, "-m", "brainmets.gateway", name)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal (proc_pid_status(5))."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def complaint_of(process: subprocess.Popen[str]) -> str:
    """Return what a process said that could not run."""
    assert process.wait(timeout=WAIT_S) == 1
    complaint = process.stderr.read() if process.stderr else ""
    assert "Traceback" not in complaint
    return complaint


def check(address: str, part: str) -> int:
    """Return what a process says of a part, once it answers."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=part)
        return stub.Check(request, wait_for_ready=True, timeout=WAIT_S).status


def becomes(address: str, part: str, status: int) -> bool:
    """Return whether a part comes to be in a state."""
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        if check(address, part) == status:
            return True
        time.sleep(0.1)
    return False


def test_the_api_serves_without_triton(environment: dict[str, str]) -> None:
    """A study can be accepted durably although no network runs."""
    with started("api", environment):
        for name, part in itertools.product(("HEALTH", "LISTEN"), ("", *API_PARTS)):
            assert becomes(environment[f"BRAINMETS_{name}_ADDRESS"], part, SERVING)


def test_the_api_does_not_serve_without_redis(environment: dict[str, str], redis_server: RedisServer) -> None:
    """A probe hears of it, and of its return."""
    address = environment["BRAINMETS_HEALTH_ADDRESS"]
    with started("api", environment):
        assert becomes(address, API_PARTS[0], SERVING)
        redis_server.kill()
        try:
            assert becomes(address, API_PARTS[0], NOT_SERVING)
        finally:
            redis_server.start()
        assert becomes(address, API_PARTS[0], SERVING)


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_process_that_waits_for_redis_hears_its_end(environment: dict[str, str], name: str) -> None:
    """It need not be killed, and says what it waited for."""
    with started(name, environment | {"BRAINMETS_REDIS_URL": "redis://127.0.0.1:1/0"}) as process:
        while not catches(process, signal.SIGTERM):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert "Redis was not reached" in complaint_of(process)


def test_a_worker_without_triton_says_which_part_fails(environment: dict[str, str]) -> None:
    """It could claim jobs, and does not, because inference does not work."""
    address = environment["BRAINMETS_HEALTH_ADDRESS"]
    with started("worker", environment):
        assert becomes(address, "worker", SERVING)
        assert check(address, "inference") == NOT_SERVING


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_process_ends_well_when_told_to(environment: dict[str, str], name: str) -> None:
    """SIGTERM is no accident."""
    with started(name, environment) as process:
        assert check(environment["BRAINMETS_HEALTH_ADDRESS"], "") == SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=WAIT_S) == 0


@pytest.mark.parametrize(
    ("name", "service", "untold"),
    [
        ("api", Service.GATEWAY, set()),
        # No Triton answers here that could name a digest.
        ("worker", Service.WORKER, {MODEL_DIGEST.name("worker")}),
    ],
)
def test_a_process_tells_the_metrics_of_the_contract(
    environment: dict[str, str], certificate: Path, name: str, service: Service, untold: set[str]
) -> None:
    """All of them before their first event, with their kinds, labels and buckets, and no other."""
    page = built_page(service)
    for metric in untold:
        del page[metric]
    with started(name, environment | {"BRAINMETS_CERTIFICATE_FILE": str(certificate)}):
        assert becomes(environment["BRAINMETS_HEALTH_ADDRESS"], "worker" if name == "worker" else API_PARTS[0], SERVING)
        address = environment["BRAINMETS_METRICS_ADDRESS"]
        wait_until(lambda: JOBS_ACCEPTED.name(service) in read_page(address))
        assert read_page(address) == page


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once something holds, or when it has had its time."""
    give_up = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < give_up:
        time.sleep(0.1)


def test_a_dependency_that_is_gone_is_told(environment: dict[str, str], redis_server: RedisServer) -> None:
    """Redis by name, and not the store beside it."""
    up = functools.partial(dependency_is, environment["BRAINMETS_METRICS_ADDRESS"])
    with started("worker", environment):
        assert becomes(environment["BRAINMETS_HEALTH_ADDRESS"], "worker", SERVING)
        wait_until(lambda: up("redis", 1))
        redis_server.kill()
        try:
            wait_until(lambda: up("redis", 0))
            assert up("redis", 0)
            assert up("store", 1)
            assert up("triton", 0)
            assert up("preprocessing", 0)
        finally:
            redis_server.start()


def dependency_is(address: str, name: str, value: int) -> bool:
    """Return whether a worker tells this of a dependency."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return f'brainmets_worker_dependency_up{{dependency="{name}"}} {value}.0' in answer.read().decode()


@pytest.mark.parametrize("name", ["api", "worker"])
def test_missing_settings_are_one_sentence(environment: dict[str, str], name: str) -> None:
    """Every variable at fault is named."""
    del environment["BRAINMETS_ARTIFACT_URL"]
    with started(name, environment) as process:
        assert "BRAINMETS_ARTIFACT_URL" in complaint_of(process)


def test_a_taken_port_is_one_sentence(environment: dict[str, str]) -> None:
    """The operator reads which port it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started("api", environment | {"BRAINMETS_LISTEN_ADDRESS": f"127.0.0.1:{port}"}) as process:
            assert f"port {port}" in complaint_of(process)


def test_an_unknown_process_is_told_which_there_are(environment: dict[str, str]) -> None:
    """As any command does."""
    with started("frontend", environment) as process:
        assert process.wait(timeout=WAIT_S) == 2
        assert "api|worker" in (process.stderr.read() if process.stderr else "")
