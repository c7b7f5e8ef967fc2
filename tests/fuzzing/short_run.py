"""Owns what `make test` fuzzes: the whole corpus, and changes of it that are the same each time."""

import random
from pathlib import Path

from fuzzing.mutations import change_bytes
from fuzzing.targets import CORPUS, execute, find_target, mutate


def list_inputs(name: str) -> list[Path]:
    """Return a target's inputs in the corpus."""
    return sorted((CORPUS / name).iterdir())


def replay(name: str) -> int:
    """Read a target's whole corpus, and return how many inputs there are."""
    paths = list_inputs(name)
    for path in paths:
        execute(find_target(name), path.read_bytes())
    return len(paths)


def fuzz_shortly(name: str) -> int:
    """Read changed inputs of a target's corpus, and return how many; an error's notes tell the input."""
    target = find_target(name)
    inputs = [path.read_bytes() for path in list_inputs(name)]
    for number in range(target.short_runs):
        rng = random.Random(number)  # noqa: S311 -- chance that is to repeat itself
        content = rng.choice(inputs)
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = mutate(target, content, rng, change_bytes(rng))
        try:
            execute(target, content)
        except Exception as error:
            error.add_note(f"{name}, change {number}: bytes.fromhex('{content.hex()}')")
            raise
    return target.short_runs


def peak_bytes() -> int:
    """Return the most memory that this process has had resident."""
    # Not getrusage's, which begins with what the parent had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
