"""Owns the end of a backend process that has been replaced.

A model of which one process has died is loaded again as a whole, and Triton (2.51) then leaves its others behind: idle,
with all their memory. Each looks for itself.
"""

import os
import time

import psutil

LOOK_INTERVAL_S = 5.0


def end_once_replaced(instance_name: str) -> None:
    """Look, for ever, whether Triton runs an instance in a younger process than this one, and end this one then."""
    own = psutil.Process()
    triton = own.parent()
    while triton is not None:
        if any(_replaces(other, own, instance_name) for other in triton.children()):
            # Nobody waits for what it would clean up.
            os._exit(0)
        time.sleep(LOOK_INTERVAL_S)


def _replaces(other: psutil.Process, own: psutil.Process, instance_name: str) -> bool:
    try:
        return other.create_time() > own.create_time() and instance_name in other.cmdline()
    except psutil.Error:
        # It has ended, perhaps while it was looked at.
        return False
