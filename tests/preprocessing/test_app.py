"""The preprocessing process itself: it starts, answers probes, and stops when told to."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from brainmets.preprocessing.servicer import SERVICE_NAME
from brainmets.runtime.metric_contract import Service
from free_addresses import free_addresses
from metric_pages import built_page, read_page

SERVICES = Path(__file__).parents[2] / "services"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a process on free ports."""
    names = ("LISTEN", "HEALTH", "METRICS")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(SERVICES), os.environ.get("PYTHONPATH", ""))),
        "BRAINMETS_ARTIFACT_URL": (tmp_path / "artifacts").as_uri(),
        **{f"BRAINMETS_{name}_ADDRESS": address for name, address in zip(names, free_addresses(3), strict=True)},
    }


@contextmanager
def started(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process, and end it afterwards whatever happens."""
    command = (sys.executable, "-m", "brainmets.preprocessing")
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def check(address: str) -> int:
    """Return what the process says of PreprocessingService, once it answers."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
        return stub.Check(request, wait_for_ready=True, timeout=60).status


def test_no_decoder_waits_for_a_study_that_cannot_come(environment: dict[str, str]) -> None:
    """A study takes a place first: of eight decoders two are of use."""
    environment |= {"BRAINMETS_DECODERS": "8", "BRAINMETS_MAX_STUDIES": "2"}
    with started(environment) as process:
        assert check(environment["BRAINMETS_LISTEN_ADDRESS"]) == health_pb2.HealthCheckResponse.SERVING
        assert len(psutil.Process(process.pid).children()) == 2


def test_the_process_serves_until_it_is_told_to_stop(environment: dict[str, str]) -> None:
    """It answers probes on both ports and Prometheus on a third, and SIGTERM ends it well."""
    with started(environment) as process:
        for name in ("HEALTH", "LISTEN"):
            assert check(environment[f"BRAINMETS_{name}_ADDRESS"]) == health_pb2.HealthCheckResponse.SERVING
        metrics = f"http://{environment['BRAINMETS_METRICS_ADDRESS']}/metrics"
        with urllib.request.urlopen(metrics, timeout=30) as answer:
            assert b"process_resident_memory_bytes" in answer.read()
        assert read_page(environment["BRAINMETS_METRICS_ADDRESS"]) == built_page(Service.PREPROCESSING)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_a_taken_port_is_one_sentence(environment: dict[str, str]) -> None:
    """The operator reads which port it is, and no stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(environment | {"BRAINMETS_LISTEN_ADDRESS": f"127.0.0.1:{port}"}) as process:
            assert process.wait(timeout=60) == 1
            complaint = process.stderr.read() if process.stderr else ""
    assert f"port {port}" in complaint
    assert "Traceback" not in complaint


def test_missing_settings_are_one_sentence(environment: dict[str, str]) -> None:
    """Every variable at fault is named."""
    del environment["BRAINMETS_ARTIFACT_URL"]
    with started(environment) as process:
        assert process.wait(timeout=60) == 1
        complaint = process.stderr.read() if process.stderr else ""
    assert "BRAINMETS_ARTIFACT_URL" in complaint
    assert "Traceback" not in complaint
