"""Owns what ties a process to the one that starts it: when that is killed, however suddenly, it ends too."""

import os
import shutil
from dataclasses import replace

from brainmets.serving.program import Program

# Of util-linux, which Debian and Ubuntu always have; without it a process may outlive its parent. The kernel sends the
# signal when the thread ends that started the process (prctl(2), PR_SET_PDEATHSIG); the process may have become another
# program by then.
_END_WITH_PARENT = ("setpriv", "--pdeathsig")
# A parent that died before that is somebody else by now, and its end would never be told.
_UNLESS_ORPHANED = ("sh", "-c", 'test "$PPID" = "$0" && exec "$@"')
# Redis writes down what it holds, Triton ends its backends and frees the memory shared with them. A service would wait
# for calls and studies that need the others; whoever loses a service suddenly loses no study.
_END_IN_ORDER = frozenset({"redis", "triton"})


def tie(program: Program) -> Program:
    """Return a program that ends when this process has ended, whose child it must be."""
    # A program that is not there is told by who starts it, and not by what ties it.
    if not all(map(shutil.which, (_END_WITH_PARENT[0], program.words[0]))):
        return program
    told = "TERM" if program.name in _END_IN_ORDER else "KILL"
    words = (*_END_WITH_PARENT, told, *_UNLESS_ORPHANED, str(os.getpid()), *program.words)
    return replace(program, words=words)
