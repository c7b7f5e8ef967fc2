"""Owns the world of a training: the processes that share it, and the device of each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from brainmets.training.networks.blocks import PLANAR, Space

# The variable by which torchrun tells a process its GPU.
LOCAL_RANK = "LOCAL_RANK"


@dataclass(frozen=True, slots=True)
class World:
    """One of the processes that train together.

    Attributes:
        rank: Its number; the first one, 0, writes.
        size: How many there are.
        device: Where its network lies.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 -- a constant

    @property
    def writes(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def autocast(self, space: Space) -> torch.autocast:
        """Return the context in which a space's convolutions run in bfloat16, where the device has it.

        It has float32's range, so that nothing need be scaled; without it everything stays float32. So does a volume on
        a CPU: torch 2.13 frees memory twice there, in 16 x 160 x 160 voxels of bfloat16 (AMX).
        """
        has_bfloat16 = (
            torch.cuda.is_bf16_supported()
            if self.device.type == "cuda"
            else space is PLANAR and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        )
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=has_bfloat16)

    def largest(self, number: float) -> float:
        """Return the largest of all processes' numbers, so that all decide alike."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return float(shared)


@contextmanager
def join_world() -> Iterator[World]:
    """Join the processes that torchrun started, or be alone; the first GPU is used where there is one."""
    on_gpu = torch.cuda.is_available()
    if not distributed.is_torchelastic_launched():
        yield World(device=torch.device("cuda" if on_gpu else "cpu"))
        return
    if on_gpu:
        torch.cuda.set_device(int(os.environ[LOCAL_RANK]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), torch.device("cuda" if on_gpu else "cpu"))
    finally:
        distributed.destroy_process_group()
