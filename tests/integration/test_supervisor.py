"""The stack's parts live and die together, and it never outlives whoever started it."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from brainmets.serving.readiness import serves
from free_addresses import free_ports
from integration.running_stack import wait_until
from local.errors import StackError
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from local.ports import HOST
from local.processes import Place
from local.readiness import wait_until_ready
from local.shared_memory import SETTLED_S
from local.stack import Record, Stack
from orphans import has_ended

PARTS = 5
STOP_TIMEOUT_S = 60.0
# Some five on two cores, of which Triton's orderly end takes most.
ORPHANS_TIMEOUT_S = 20.0
# Less than the 20 s that a worker gives the study under way.
A_STUDYS_TIME_S = 8.0


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Stack]:
    """A stack under its supervisor, all of its processes started."""
    if not (REDIS_SERVER.exists() and TRITON_BACKENDS.exists()):
        pytest.skip("needs Triton and Redis in build/ (make test unpacks them)")
    place = Place(free_ports(), state=tmp_path / "state", logs=tmp_path / "logs", model_repository=MODEL_REPOSITORY)
    stack = Stack.start(place, alone=False)
    wait_until(lambda: len(parts_of(stack)) == PARTS, timeout_s=20)
    yield stack
    stack.stop()


def parts_of(stack: Stack) -> list[psutil.Process]:
    """Return the stack's own processes, in the order of their start."""
    running = Record.of(stack.place.state).find_running()
    return [] if running is None else psutil.Process(running[0]).children()


def supervisor_of(stack: Stack) -> psutil.Process:
    """Return the process that started them."""
    parent = parts_of(stack)[0].parent()
    assert parent is not None
    return parent


def regions_of(process: psutil.Process) -> list[Path]:
    """Return the shared memory that a process has mapped."""
    return [Path(mapped.path) for mapped in process.memory_maps() if mapped.path.startswith("/dev/shm/")]


def has_stopped(stack: Stack) -> bool:
    """Return whether a stack says that it has stopped."""
    try:
        stack.check_alive()
    except StackError:
        return True
    return False


def test_stopping_stops_every_part(supervised: Stack) -> None:
    """And nothing says afterwards that a stack runs."""
    parts = parts_of(supervised)
    supervised.stop()
    assert not any(part.is_running() for part in parts)
    assert Record.of(supervised.place.state).find_running() is None


def test_nothing_that_a_worker_needs_stops_before_it(supervised: Stack) -> None:
    """Its study under way is finished, or given back: both take longer than an idle part's end."""
    *others, worker = parts_of(supervised)
    assert worker.cmdline()[-1] == "worker"
    health = f"{HOST}:{supervised.place.ports.worker_health}"
    wait_until(lambda: serves(health, "worker"), timeout_s=60)
    worker.suspend()
    stopping = threading.Thread(target=supervised.stop)
    stopping.start()
    try:
        stopping.join(A_STUDYS_TIME_S)
        assert stopping.is_alive()
        assert all(part.status() != psutil.STATUS_ZOMBIE for part in others)
    finally:
        worker.resume()
        stopping.join()
    log = supervised.place.log("supervisor").read_text()
    stopped = [line.split()[1] for line in log.splitlines() if " stopped " in line]
    assert stopped[:2] == ["worker", "api"]
    assert sorted(stopped[2:]) == ["preprocessing", "redis", "triton"]
    assert "rc=-9" not in log


def test_the_end_of_one_part_ends_all_and_is_named(supervised: Stack) -> None:
    """With its log, for whoever wonders why."""
    parts = parts_of(supervised)
    next(part for part in parts if "redis" in part.name()).kill()
    psutil.wait_procs(parts, timeout=STOP_TIMEOUT_S)
    wait_until(lambda: Record.of(supervised.place.state).find_running() is None, timeout_s=STOP_TIMEOUT_S)
    wait_until(lambda: has_stopped(supervised), timeout_s=STOP_TIMEOUT_S)
    with pytest.raises(StackError) as caught:
        supervised.check_alive()
    assert "because redis ended" in str(caught.value)
    assert str(supervised.place.log("redis")) in str(caught.value)
    assert not any(part.is_running() for part in parts)


@pytest.mark.fault
def test_a_killed_triton_leaves_no_backend_and_no_memory(supervised: Stack) -> None:
    """Its backends are processes of their own; one that does not notice is ended too, and what they shared freed."""
    triton = next(part for part in parts_of(supervised) if "tritonserver" in part.name())
    wait_until(lambda: len(triton.children()) > 0, timeout_s=20)
    wait_until(lambda: len(regions_of(triton)) > 0, timeout_s=60)
    time.sleep(SETTLED_S)
    regions = regions_of(triton)
    backend = triton.children()[0]
    backend.suspend()
    try:
        triton.kill()
        gone, _ = psutil.wait_procs([backend], timeout=STOP_TIMEOUT_S)
        assert gone
        wait_until(lambda: not any(region.exists() for region in regions), timeout_s=STOP_TIMEOUT_S)
    finally:
        if backend.is_running():
            backend.kill()


@pytest.mark.fault
def test_a_killed_supervisor_leaves_no_process_and_the_next_one_starts(supervised: Stack) -> None:
    """Also none of those that its parts have started; Redis and Triton end in order."""
    place = supervised.place
    wait_until_ready(place, supervised.check_alive)
    supervisor = supervisor_of(supervised)
    tree = supervisor.children(recursive=True)
    assert len(tree) > PARTS
    supervisor.kill()
    try:
        wait_until(lambda: all(map(has_ended, tree)), timeout_s=ORPHANS_TIMEOUT_S)
    finally:
        for process in itertools.filterfalse(has_ended, tree):
            process.kill()
    assert "ready to exit" in place.log("redis").read_text()
    assert place.ports.find_busy() is None
    successor = Stack.start(place, alone=False)
    try:
        wait_until_ready(place, successor.check_alive)
    finally:
        successor.stop()


def test_it_ends_with_whoever_started_it(supervised: Stack) -> None:
    """Whatever killed them: the pipe between them closes."""
    parts = parts_of(supervised)
    supervised.let_go()
    gone, alive = psutil.wait_procs(parts, timeout=STOP_TIMEOUT_S)
    assert len(gone) == PARTS
    assert not alive
