"""`brainmets serve`: the services on one machine, beside a Redis and a Triton that run already."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from brainmets.client import Client
from brainmets.client.commands import app
from brainmets.client.endings import ExitCode
from free_addresses import free_ports
from gateway_bench import study_bytes
from integration.running_stack import RunningStack
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from local.ports import HOST
from terminal import CTRL_C, Terminal, terminal

WRONG_USAGE = 2
SERVICES = 3
STOP_TIMEOUT_S = 15.0
# Less than the 20 s that a worker gives the study under way.
A_STUDYS_TIME_S = 8.0
NOTHING = f"{HOST}:1"


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


def words(address: str, *, redis_url: str, triton: str, artifacts: Path) -> tuple[str, ...]:
    """Return the words of the command."""
    return (
        "serve",
        *("--address", address),
        *("--redis", redis_url),
        *("--triton", triton),
        *("--artifacts", str(artifacts)),
    )


def refuse(tmp_path: Path, *, address: str, redis_url: str = "redis://127.0.0.1:1/0", triton: str = NOTHING) -> Result:
    """Run a command that cannot, and return what it said; nothing is left of it."""
    artifacts = tmp_path / "artifacts"
    result = CliRunner().invoke(app, words(address, redis_url=redis_url, triton=triton, artifacts=artifacts))
    assert result.exit_code == WRONG_USAGE
    assert not artifacts.exists()
    return result


def said(result: Result) -> str:
    """Return what an error says, without the frame around it."""
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.integration
def test_studies_are_segmented_until_it_is_interrupted(engines: RunningStack, tmp_path: Path) -> None:
    """It makes the folder of artefacts, says when it is ready, and leaves nothing behind on Ctrl-C."""
    head = tmp_path / "head-t1c.nii.gz"
    head.write_bytes(study_bytes())
    address = f"{HOST}:{free_ports().api}"
    ports = engines.place.ports
    given = words(
        address,
        redis_url=f"redis://{HOST}:{ports.redis}/0",
        triton=f"{HOST}:{ports.triton}",
        artifacts=tmp_path / "artifacts",
    )
    served = subprocess.Popen(
        [sys.executable, "-m", "brainmets.client", *given], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert served.stderr is not None
    try:
        assert served.stderr.readline() == (
            f"Ready at {address}. Ctrl-C stops it; next: brainmets segment STUDY --address {address}\n"
        )
        with Client(address) as client:
            assert client.segment(head).statement
        services = psutil.Process(served.pid).children(recursive=True)
        assert len(services) >= SERVICES
        served.send_signal(signal.SIGINT)
        assert served.wait(STOP_TIMEOUT_S) == ExitCode.OK
        assert served.stderr.readline().startswith("Stopped.")
        assert not psutil.wait_procs(services, timeout=STOP_TIMEOUT_S)[1]
    finally:
        if served.poll() is None:
            for process in (*psutil.Process(served.pid).children(recursive=True), served):
                process.kill()
            served.wait()
        served.stderr.close()


def test_a_terminal_shows_what_is_waited_for(redis_url: str, tmp_path: Path) -> None:
    """And not how each service says at length that Triton is not there; Ctrl-C ends that, too."""
    address = f"{HOST}:{free_ports().api}"
    given = words(address, redis_url=redis_url, triton=NOTHING, artifacts=tmp_path / "artifacts")
    with terminal(*given) as command:
        command.wait_for(f"Waiting for Triton at {NOTHING}")
        command.press(CTRL_C)
        assert command.wait() == ExitCode.OK
        assert "Stopped." in command.shown
        assert "inference_probe_failed" not in command.shown
        assert "Ready" not in command.shown
        assert command.is_clean


def test_a_second_interrupt_kills_what_does_not_end(redis_url: str, tmp_path: Path) -> None:
    """Frozen services cannot end in order."""
    address = f"{HOST}:{free_ports().api}"
    given = words(address, redis_url=redis_url, triton=NOTHING, artifacts=tmp_path / "artifacts")
    with terminal(*given) as command:
        command.wait_for(f"Waiting for Triton at {NOTHING}")
        left = psutil.Process(command.command.pid).children(recursive=True)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                if any(word.startswith(("brainmets.gateway", "brainmets.preprocessing")) for word in process.cmdline()):
                    process.suspend()
        command.press(CTRL_C)
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(1.0)
        give_up_s = time.monotonic() + STOP_TIMEOUT_S
        while command.command.poll() is None:
            # Long before their grace is over.
            assert time.monotonic() < give_up_s
            # Again: two of them may be one signal.
            command.press(CTRL_C)
            with suppress(subprocess.TimeoutExpired):
                command.wait(1.0)
        assert not psutil.wait_procs(left, timeout=STOP_TIMEOUT_S)[1]


def find_service(command: Terminal, *words: str) -> psutil.Process:
    """Return a service's process by its words, once it runs; a decoder looks like preprocessing before it is one."""
    while True:
        found = []
        for process in psutil.Process(command.command.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[1:] == ["-m", *words]:
                    found.append(process)
        if found:
            return min(found, key=psutil.Process.create_time)
        time.sleep(0.02)


def test_a_worker_is_waited_for_and_has_the_others_meanwhile(redis_url: str, tmp_path: Path) -> None:
    """Its study under way is finished, or given back: both take longer than an idle service's end."""
    address = f"{HOST}:{free_ports().api}"
    given = words(address, redis_url=redis_url, triton=NOTHING, artifacts=tmp_path / "artifacts")
    with terminal(*given) as command:
        command.wait_for(f"Waiting for Triton at {NOTHING}")
        worker, api, preprocessing = (
            find_service(command, *words)
            for words in (("brainmets.gateway", "worker"), ("brainmets.gateway", "api"), ("brainmets.preprocessing",))
        )
        worker.suspend()
        command.press(CTRL_C)
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(A_STUDYS_TIME_S)
        assert all(process.is_running() for process in (worker, api, preprocessing))
        worker.resume()
        assert command.wait() == ExitCode.OK
        assert not psutil.wait_procs((worker, api, preprocessing), timeout=STOP_TIMEOUT_S)[1]


def test_the_last_words_of_a_service_that_ended_are_shown(tmp_path: Path) -> None:
    """Though lines are kept back until all are ready."""
    port = free_ports().api
    given = words(f"{HOST}:{port}", redis_url="redis://127.0.0.1:1/0", triton=NOTHING, artifacts=tmp_path / "store")
    with terminal(*given) as command:
        command.wait_for("Waiting for")
        find_service(command, "brainmets.preprocessing").kill()
        assert command.wait() == ExitCode.FAILED
        assert "preprocessing stopped" in command.shown
        assert "one of the services ended" in command.shown


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", ":8500"])
def test_what_is_no_address_is_a_wrong_command_line(tmp_path: Path, address: str) -> None:
    """It is told before anything starts."""
    assert f"expected host:port with a port from 1 to 65535, got {address}" in said(refuse(tmp_path, address=address))


@pytest.mark.parametrize("above", [0, 10, 92])
def test_a_port_that_is_taken_is_a_wrong_command_line(tmp_path: Path, above: int) -> None:
    """Whether it is the API's or one of those above; where, and how to end what listens there, is told."""
    port = free_ports().api
    with socket.create_server((HOST, port + above)):
        words = said(refuse(tmp_path, address=f"{HOST}:{port}"))
    assert f"a program that listens at {HOST}:{port + above}" in words
    assert "make down" in words


@pytest.mark.parametrize("address", ["192.0.2.1:8500", "no-such-host.invalid:8500"])
def test_an_address_of_another_machine_is_a_wrong_command_line(tmp_path: Path, address: str) -> None:
    """Nothing can listen there; 192.0.2.0/24 belongs to no machine."""
    assert f"expected an address of this machine, got {address}" in said(refuse(tmp_path, address=address))


def test_a_port_without_room_above_it_is_a_wrong_command_line(tmp_path: Path) -> None:
    """The other services listen there."""
    assert "expected a port up to 65443" in said(refuse(tmp_path, address=f"{HOST}:65500"))


def test_what_services_cannot_run_with_is_told_by_its_option(tmp_path: Path) -> None:
    """Not by a variable that nobody has set; a password is not told."""
    address = f"{HOST}:{free_ports().api}"
    assert "--triton: expected host:port" in said(refuse(tmp_path, address=address, triton="nowhere"))
    redis = said(refuse(tmp_path, address=address, redis_url="http://:hunter2@127.0.0.1:1"))
    assert "--redis: expected a URL as redis://host:port/0" in redis
    assert "hunter2" not in redis
