"""Owns the memory that Triton shares with its backend processes and with workers: it outlives whoever is killed."""

import time
from contextlib import suppress
from pathlib import Path

_FOLDER = Path("/dev/shm")  # noqa: S108 -- Linux' own place for it
# What Triton calls its regions (a prefix of our own is not taken up by a backend that is written in Python), and what
# a worker calls its tiles.
_NAMES = ("triton_onnxruntime_backend_shm_region_*", "brainmets_tile_*")
# A region that is younger may not have been mapped yet by the Triton that makes it.
SETTLED_S = 3.0


def free_left_over_regions() -> None:
    """Remove the regions that no process maps any more: tens of megabytes for each network of a Triton that was killed.

    Those of other users' processes, whose maps cannot be read, cannot be removed by this one either.
    """
    left_over = _find_unmapped()
    if any(_age_s(region) < SETTLED_S for region in left_over):
        time.sleep(SETTLED_S)
        left_over &= _find_unmapped()
    for region in left_over:
        with suppress(FileNotFoundError, PermissionError):
            region.unlink()


def _find_unmapped() -> set[Path]:
    # Regions first: one that is made between the two looks is not taken for one that nobody maps.
    regions = _find_regions()
    mapped = "".join(_read_maps(maps) for maps in Path("/proc").glob("[0-9]*/maps")) if regions else ""
    return {region for region in regions if region.name not in mapped}


def _find_regions() -> list[Path]:
    return [region for name in _NAMES for region in _FOLDER.glob(name)]


def _age_s(region: Path) -> float:
    with suppress(FileNotFoundError):
        return time.time() - region.stat().st_ctime
    return 0.0


def _read_maps(maps: Path) -> str:
    # Processes come and go, and some are not ours to look into.
    with suppress(OSError):
        return maps.read_text()
    return ""
