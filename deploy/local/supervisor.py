"""Runs the stack's processes until told to stop, or until one of them ends.

It ends with its standard input, so that it never outlives whoever started it;
`--alone` makes it independent. Who it is, and which process ended first, it writes to the state folder.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from brainmets.serving.running_programs import RunningPrograms
from local.ports import Ports
from local.processes import FOLDERS, Place, stack_processes
from local.shared_memory import free_left_over_regions
from local.stack import Record

_STANDARD_INPUT = 0


def main(place: Place, *, alone: bool) -> int:
    """Run until SIGTERM, Ctrl-C, the end of standard input, or the end of one process, of which 1 tells."""
    place.make_folders()
    record = Record.begin(place, pid=os.getpid())
    ended = asyncio.run(_run(place, alone=alone))
    if ended is not None:
        record.note_failure(ended)
    free_left_over_regions()
    record.end()
    return int(ended is not None)


async def _run(place: Place, *, alone: bool) -> str | None:
    """Return which process ended by itself."""
    *needed, api, worker = stack_processes(place)
    async with RunningPrograms([needed, [api], [worker]], lambda name, line: print(name, line, flush=True)) as running:
        if not alone:
            asyncio.get_running_loop().add_reader(_STANDARD_INPUT, _stop_with_input, running)
        return await running.wait()


def _stop_with_input(running: RunningPrograms) -> None:
    if not os.read(_STANDARD_INPUT, 1):
        asyncio.get_running_loop().remove_reader(_STANDARD_INPUT)
        running.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local.supervisor", description=__doc__)
    parser.add_argument("first_port", type=int)
    parser.add_argument("--alone", action="store_true")
    for folder in FOLDERS:
        parser.add_argument(f"--{folder}", dest=folder, type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    folders = {folder: getattr(arguments, folder) for folder in FOLDERS}
    sys.exit(main(Place(Ports.starting_at(arguments.first_port), **folders), alone=arguments.alone))
