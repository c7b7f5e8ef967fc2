"""Owns a reader of studies that does what the study tells it to: what a decoder of hostile bytes may do."""

import contextlib
import ctypes
import os
import signal
import stat
import sys
import time
from collections.abc import Callable

import numpy as np

from brainmets.formats.study_reader import ReadStudy, StudyFile, VolumeListener
from brainmets.imaging.errors import UnusableSeriesError
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesReason, SeriesSelection, SeriesUse
from brainmets.imaging.volume import Volume, VoxelMemory
from brainmets.preprocessing.decoding_messages import ANSWER_PLACE, AnswerKind

READER = f"{__name__}:read_study"
SHAPE = (3, 4, 5)
AFFINE = np.array([[0.1, 0, 3, 1 / 3], [0, 2, 0, -7], [-1, 0, 0.2, 1e-9], [0, 0, 0, 1]])
FORMS = NiftiForms(4, 2, (-1.0, 0.1, 2.0, 1 / 3), (0.1, -0.2, 0.3), (-7.0, 1 / 3, 1e-9))
FINDING = Finding(FindingCode.DIFFERENT_DAYS, "Days apart.", Sequence.T1N, Severity.SEVERE)
SERIES = SeriesUse(0, 9, None, Sequence.T1C, SeriesReason.CHOSEN, "Taken.", SHAPE, (0.1, 2.0, 1 / 3))


def read_study(
    files: tuple[StudyFile, ...],
    *,
    selections: tuple[SeriesSelection, ...],
    known: tuple[Sequence, ...],
    memory: VoxelMemory,
    on_volume: VolumeListener,
) -> ReadStudy:
    """Do the deed that the first file names, or read a T1c whose voxels all are the number that it holds."""
    content = bytes(files[0].content)
    if content in DEEDS:
        DEEDS[content]()
    sequences = [Sequence.T2F, Sequence.T1C][-len(files) :]
    volumes = {sequence: _volume(float(content)) for sequence in sequences}
    for sequence, volume in volumes.items():
        on_volume(sequence, volume)
    if len(files) > 1 and (deed := bytes(files[1].content)) in LATE_DEEDS:
        LATE_DEEDS[deed](on_volume, memory)
    indices = dict.fromkeys(sequences, files[0].file_index)
    return ReadStudy(volumes, indices, (SERIES,) * len(selections), (FINDING,) * len(known), FORMS)


def _volume(value: float) -> Volume:
    return Volume(np.full(SHAPE, value, np.float32), Geometry(SHAPE, AFFINE))


def _loop() -> None:
    while True:
        pass


def _compute() -> None:
    ends_s = time.process_time() + COMPUTING_S
    while time.process_time() < ends_s:
        pass


def _control() -> int:
    """Return the process's line to its service, which bytes that took it over find as well."""
    return next(number for number in range(3, 64) if _is_socket(number))


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _hang_up() -> None:
    os.close(_control())
    time.sleep(600)


def _babble() -> None:
    os.write(_control(), b"?")
    time.sleep(600)


def _promise() -> None:
    """Say that the answer lies where no memory is."""
    os.write(_control(), ANSWER_PLACE.pack(AnswerKind.STUDY, 2**63, 10))
    time.sleep(600)


def _allocate() -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1)) * (16 * 1024**2))


def _recurse() -> None:
    _recurse()


def _refuse() -> None:
    raise UnusableSeriesError(
        "Slices are missing", expected="even slices", got="3 slices missing", remedy="send all slices", file_index=77
    )


def _refuse_without_memory(memory: VoxelMemory) -> None:
    for pixels in (1024, 32):  # 32 x 32 are a page
        with contextlib.suppress(MemoryError):
            while True:
                memory((1, pixels, pixels))
    _refuse()


def _fail() -> None:
    raise KeyError("Doe^Jane")


def _write_file() -> None:
    os.write(os.open(".", os.O_TMPFILE | os.O_RDWR), b"patient")


def _tell_environment() -> None:
    raise UnusableSeriesError("", expected="", got=str(sorted(os.environ)), remedy="")


def _fault() -> None:
    ctypes.string_at(0)


DEEDS: dict[bytes, Callable[[], object]] = {
    b"loop": _loop,
    b"sleep": lambda: time.sleep(600),
    b"allocate": _allocate,
    b"recurse": _recurse,
    b"fault": _fault,
    b"abort": os.abort,
    b"exit": lambda: os._exit(0),
    b"exit of the interpreter": sys.exit,
    b"end from outside": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"hang up": _hang_up,
    b"babble": _babble,
    b"promise": _promise,
    b"refuse": _refuse,
    b"fail": _fail,
    b"write a file": _write_file,
    b"tell the environment": _tell_environment,
}
# Longer than a decoder may compute in the tests that use it.
NAP_S = 2.0
# Less than it may compute in them.
COMPUTING_S = 0.5
# What it does once it has told of its volumes.
LATE_DEEDS: dict[bytes, Callable[[VolumeListener, VoxelMemory], object]] = {
    b"compute": lambda *_: _compute(),
    b"nap": lambda *_: time.sleep(NAP_S),
    b"loop": lambda *_: _loop(),
    b"tell a volume twice": lambda on_volume, _: on_volume(Sequence.T1C, _volume(1.0)),
    b"tell another volume": lambda on_volume, _: on_volume(Sequence.T2W, _volume(1.0)),
    b"refuse with no memory left": lambda _, memory: _refuse_without_memory(memory),
}
