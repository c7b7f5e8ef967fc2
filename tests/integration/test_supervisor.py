"""The stack's parts live and die together, and it never outlives whoever started it."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import local.stack
from free_addresses import free_ports
from integration.running_stack import wait_until
from local.errors import StackError
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from local.processes import Place
from local.shared_memory import SETTLED_S
from local.stack import Record, Stack

PARTS = 5
STOP_TIMEOUT_S = 60.0


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack under its supervisor, all of its processes started."""
    monkeypatch.setattr(local.stack, "STOP_TIMEOUT_S", STOP_TIMEOUT_S)
    if not (REDIS_SERVER.exists() and TRITON_BACKENDS.exists()):
        pytest.skip("needs Triton and Redis in build/ (make test unpacks them)")
    place = Place(free_ports(), state=tmp_path / "state", logs=tmp_path / "logs", model_repository=MODEL_REPOSITORY)
    stack = Stack.start(place, alone=False)
    wait_until(lambda: len(parts_of(stack)) == PARTS, timeout_s=20)
    yield stack
    stack.stop()


def parts_of(stack: Stack) -> list[psutil.Process]:
    """Return the stack's own processes, which honcho starts as its children's children."""
    running = Record.of(stack.place.state).find_running()
    if running is None:
        return []
    children = psutil.Process(running[0]).children()
    return [part for child in children for part in child.children()]


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


def test_it_ends_with_whoever_started_it(supervised: Stack) -> None:
    """Whatever killed them: the pipe between them closes."""
    parts = parts_of(supervised)
    supervised.let_go()
    gone, alive = psutil.wait_procs(parts, timeout=STOP_TIMEOUT_S)
    assert len(gone) == PARTS
    assert not alive
