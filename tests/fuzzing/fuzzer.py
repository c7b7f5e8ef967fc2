"""Fuzzes one target, guided by the coverage of this project's code: `python -m fuzzing.fuzzer TARGET [OPTION…]`.

Options are libFuzzer's. It runs until one of them ends it or an input breaks a promise; that input is kept.
"""

import signal
import sys
from random import Random

import atheris

# Whatever is to guide it must be imported here first.
with atheris.instrument_imports(include=["brainmets"], enable_loader_override=False):
    from fuzzing.targets import execute, find_target, mutate


def main(name: str, *options: str) -> None:
    """Fuzz; never returns."""
    target = find_target(name)

    def change(content: bytes, most_bytes: int, seed: int) -> bytes:
        changed = mutate(target, content, Random(seed), atheris.Mutate)  # noqa: S311 -- the fuzzer's own seed
        return changed[:most_bytes]

    def run(content: bytes) -> None:
        execute(target, content)

    # Python's handler would make an interrupt look like a finding; libFuzzer's ends the run and prints its figures.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    words = [sys.argv[0], *options, f"-max_len={target.max_bytes}"]
    atheris.Setup(words, run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
