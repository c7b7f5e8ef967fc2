"""Owns what codecs complain of: libjpeg warns of damage on C's `stderr`, fills in what it cannot read, and goes on.

GDCM returns such an image as if it were good, and nothing else tells of it. The variable is turned for as long as a
codec works, not descriptor 2: what others write there, in any thread and in processes that they start, is left alone.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TypeVar

# More than a codec says of one image; what goes beyond is lost, but not that there was something.
_KEPT_BYTES = 4096
# There is one `stderr` for all threads. Nobody waits longer for it: GDCM keeps the interpreter to itself anyway.
_LOCK = Lock()
_Result = TypeVar("_Result")


def hear_complaints(work: Callable[[], _Result]) -> tuple[_Result, bool]:
    """Let a codec work; return its result, and whether it complained. Its words, which may quote a file, are dropped.

    References:
        The GNU C Library, 12.2 (`stderr` is a variable that may be set), 12.21.1 (fmemopen).
    """
    libc, ear = _open_ear()
    stderr = ctypes.c_void_p.in_dll(libc, "stderr")
    with _LOCK:
        libc.rewind(ear)
        own = stderr.value
        stderr.value = ear.value
        try:
            result = work()
        finally:
            stderr.value = own
        return result, libc.ftell(ear) != 0


@cache
def _open_ear() -> tuple[ctypes.PyDLL, ctypes.c_void_p]:
    """Return the C library, and a stream of it that ends in memory; only now, because not every system has them."""
    # Its calls take no time, and so keep the interpreter: no other thread waits for a lock that is just being given up.
    libc = ctypes.PyDLL(None)
    libc.fmemopen.restype = ctypes.c_void_p
    ear = ctypes.c_void_p(libc.fmemopen(None, ctypes.c_size_t(_KEPT_BYTES), b"w"))
    if not ear:
        raise MemoryError
    return libc, ear
