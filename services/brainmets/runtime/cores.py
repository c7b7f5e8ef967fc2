"""Owns how many cores this process may use: those it is bound to, and no more than its container's share of time."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def count_cores(cgroup: Path = _CGROUPS) -> int:
    """Return the number of cores, at least 1; a share of one and a half is 2.

    Args:
        cgroup: Folder of the process's control group, version 2; in a container its own is at the root.

    References:
        Linux, Documentation/admin-guide/cgroup-v2.rst, cpu.max: quota and period, microseconds; "max" is no limit.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return cores
    return cores if quota == "max" else min(cores, max(1, math.ceil(int(quota) / int(period))))
