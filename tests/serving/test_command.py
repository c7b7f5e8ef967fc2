"""`brainmets serve`: the services on one machine, beside a Redis and a Triton that run already."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from brainmets.client import Client, ServiceError
from brainmets.serving.command import serve
from gateway_bench import study_bytes
from integration.running_stack import RunningStack, wait_until
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from local.ports import HOST, Ports

SERVE = "from brainmets.serving.command import serve; import sys; sys.exit(not serve(**{}))"
SERVICES = 3
START_TIMEOUT_S, STOP_TIMEOUT_S = 90.0, 15.0


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[RunningStack]:
    """A Redis and a Triton, without services."""
    if not (REDIS_SERVER.exists() and TRITON_BACKENDS.exists()):
        pytest.skip("needs Triton and Redis in build/ (make test unpacks them)")
    stack = RunningStack(tmp_path, model_repository=MODEL_REPOSITORY)
    try:
        for name in ("redis", "triton"):
            stack.start(name)
        yield stack
    finally:
        stack.__exit__()


def _serve(engines: RunningStack, ports: Ports, artifacts: Path) -> subprocess.Popen[bytes]:
    given = {
        "address": f"{HOST}:{ports.api}",
        "redis_url": f"redis://{HOST}:{engines.place.ports.redis}/0",
        "triton_address": f"{HOST}:{engines.place.ports.triton}",
        "artifacts": str(artifacts),
    }
    return subprocess.Popen([sys.executable, "-c", SERVE.format(given)])


def _answers(client: Client) -> bool:
    try:
        return all(model.ready for model in client.models())
    except ServiceError:
        return False


@pytest.mark.integration
def test_studies_are_segmented_until_it_is_interrupted(engines: RunningStack, tmp_path: Path) -> None:
    """It makes the folder of artefacts, serves the published contract, and leaves nothing behind on Ctrl-C."""
    head = tmp_path / "head-t1c.nii.gz"
    head.write_bytes(study_bytes())
    ports = Ports.find_free()
    served = _serve(engines, ports, tmp_path / "artifacts")
    try:
        with Client(f"{HOST}:{ports.api}") as client:
            wait_until(lambda: _answers(client), timeout_s=START_TIMEOUT_S)
            assert client.segment(head).statement
        services = psutil.Process(served.pid).children(recursive=True)
        assert len(services) >= SERVICES
        served.send_signal(signal.SIGINT)
        assert served.wait(STOP_TIMEOUT_S) == 0
        assert not psutil.wait_procs(services, timeout=STOP_TIMEOUT_S)[1]
    finally:
        if served.poll() is None:
            for process in (*psutil.Process(served.pid).children(recursive=True), served):
                process.kill()
            served.wait()


def test_what_no_service_can_run_with_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fault in one sentence, before anything starts."""
    given = {"redis_url": "redis://127.0.0.1:1/0", "artifacts": str(tmp_path / "artifacts")}
    assert not serve(address="here", triton_address="127.0.0.1:1", **given)
    assert "expected host:port, got here" in capsys.readouterr().err
    assert not serve(address="127.0.0.1:8500", triton_address="nowhere", **given)
    assert "BRAINMETS_TRITON_ADDRESS" in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()
