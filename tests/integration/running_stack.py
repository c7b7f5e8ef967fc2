"""Owns a real stack for tests: Redis, Triton, preprocessing, API and worker, each of which can be killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient

from brainmets.client import Client
from free_addresses import free_ports
from local.ports import HOST
from local.processes import Place, stack_processes
from local.readiness import wait_until_ready
from local.shared_memory import free_left_over_regions

# A worker that went silent loses its job after this, so that tests need not wait for long.
LEASE_S = 2.0
STOP_TIMEOUT_S = 10.0


class RunningStack:
    """A stack on free ports, without the supervisor that would stop all when one part is killed."""

    def __init__(self, folder: Path, *, model_repository: Path) -> None:
        self.place = Place(
            free_ports(), state=folder / "state", logs=folder / "logs", model_repository=model_repository
        )
        self.place.make_folders()
        self._definitions = {process.name: process for process in stack_processes(self.place)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start every process and wait until all serve."""
        try:
            for name in self._definitions:
                self.start(name)
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every process."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        free_left_over_regions()

    def start(self, name: str) -> None:
        """Start a process; its log goes on."""
        definition = self._definitions[name]
        with self.place.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                definition.words,
                env={**definition.environment, "BRAINMETS_LEASE_S": str(LEASE_S)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def pid(self, name: str) -> int:
        """Return a process's number."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """Kill a process without warning."""
        self._running[name].kill()
        assert self._running[name].wait() == -signal.SIGKILL

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Keep a process from running while the block runs."""
        self._running[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running[name].send_signal(signal.SIGCONT)

    def kill_backend(self, model_name: str, *, most: int | None = None) -> None:
        """Kill the processes in which Triton runs a model, or so many of them, without warning."""
        living = self.find_backends(model_name)
        assert living, f"no backend process of {model_name}"
        for stub in living[:most]:
            os.kill(stub.pid, signal.SIGKILL)

    def find_backends(self, model_name: str) -> list[psutil.Process]:
        """Return the living processes in which Triton runs a model."""
        stubs = []
        for child in psutil.Process(self._running["triton"].pid).children():
            # One that has ended tells no words.
            with suppress(psutil.Error):
                # Its instances are named after the model; no other word begins so.
                if any(word.startswith(f"{model_name}_") for word in child.cmdline()):
                    stubs.append(child)
        return stubs

    def wait_until_ready(self) -> None:
        """Return once every part serves."""
        wait_until_ready(self.place, self.check_alive)

    def check_alive(self) -> None:
        """Return while every process runs."""
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        assert not ended, f"{ended} ended; logs in {self.place.logs}"

    def client(self) -> Client:
        """Return a client of the published contract."""
        return Client(self.place.api_address)

    def triton(self) -> InferenceServerClient:
        """Return a client of Triton."""
        return InferenceServerClient(f"{HOST}:{self.place.ports.triton}")

    def inference_serves(self) -> bool:
        """Return whether the worker says that its networks infer."""
        with grpc.insecure_channel(f"{HOST}:{self.place.ports.worker_health}") as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="inference"), timeout=5
            )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def count_inferences(self) -> int:
        """Return how many inferences Triton has finished, of all models."""
        client = self.triton()
        try:
            answer = client.get_inference_statistics()
        finally:
            client.close()
        return sum(model.inference_stats.success.count for model in answer.model_stats)


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    """Return once a condition holds."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, f"not so within {timeout_s} s"
        time.sleep(0.02)
