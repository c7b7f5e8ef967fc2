"""Owns the build identity: what tells this installation of brainmets from any other, also of the same version."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# What Python writes there differs between machines that run the same sources.
_BYTECODE_FOLDER = "__pycache__"


@cache
def identify_build() -> str:
    """Return the digest of the installed package, read once: a process goes on with the sources that it began with."""
    return digest_package(PACKAGE)


def digest_package(folder: Path) -> str:
    """Return the SHA-256 (lower-case hexadecimal) of a package's files and their paths inside it.

    All of them count, also those of training: one that decides nothing costs a computation, one that was forgotten a
    wrong result.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != _BYTECODE_FOLDER
    }
    lines = (f"{hashlib.sha256(files[name].read_bytes()).hexdigest()} {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
