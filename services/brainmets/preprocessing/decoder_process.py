"""Runs a decoder (`python -m brainmets.preprocessing.decoder_process`): reads studies for the service, in confinement.

It is started by `decoder.Decoder` and knows nothing but the study before it. It ends itself after anything but a study
well read, because what went wrong may have left it in any state.
"""

import ctypes
import gc
import importlib
import math
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.study_reader import ReadStudy, StudyFile, VolumeListener
from brainmets.imaging.errors import BrainmetsError, InternalError
from brainmets.imaging.geometry import Index
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.imaging.volume import Volume, VoxelMemory
from brainmets.preprocessing.decoding_messages import (
    ANSWER_PLACE,
    DECODED_JSON,
    EXIT_LIMIT,
    ORDER_JSON,
    ORDER_PLACE,
    READY,
    REFUSAL_JSON,
    VOLUME_JSON,
    AnswerKind,
    DecodedStudy,
    DecodingLimits,
    DecodingOrder,
    Refusal,
    VolumeSpan,
)

# The socket, a study, an arena, and what a library opens for a moment.
MAX_OPEN_FILES = 32
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# linux/mman.h: writing to each page, but by the kernel at once.
_MADV_POPULATE_WRITE = 23
_VOXEL_BYTES = np.dtype(np.float32).itemsize


class StudyReader(Protocol):
    """Reads a study, as `formats.study_reader.read_study` does."""

    def __call__(
        self,
        files: tuple[StudyFile, ...],
        *,
        selections: tuple[SeriesSelection, ...],
        known: tuple[Sequence, ...],
        memory: VoxelMemory,
        on_volume: VolumeListener,
    ) -> ReadStudy:
        """Tell each of the study's volumes, and return what is to be said about them."""


def main(words: list[str]) -> None:
    """Serve one study after the other, until the service is gone or a study was not well read.

    Args:
        words: Descriptor of the socket, process number of the service, name of the reader (module:function), and the
            seconds and bytes that a study may take.
    """
    descriptor, service, reader_name, time_s, memory_bytes = words
    module, _, function = reader_name.partition(":")
    reader: StudyReader = getattr(importlib.import_module(module), function)
    with socket.socket(fileno=int(descriptor)) as control:
        confine(int(service))
        process = DecoderProcess(control, reader, DecodingLimits(float(time_s), int(memory_bytes)))
        control.send(READY)
        while process.serve_study():
            # While the service is busy with what was read: the study's memory is free for the next one.
            gc.collect()


def confine(service: int) -> None:
    """Give up what decoding does not need, and die with the service."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != service:  # it died before it could be asked for
        os._exit(0)
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, MAX_OPEN_FILES)):
        resource.setrlimit(kind, (most, most))
    # What a library complains about may quote the file.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    gc.freeze()


class DecoderProcess:
    """Reads the studies that come through a socket.

    Args:
        control: Where orders come from.
        reader: What reads a study.
        limits: What a study may take.
    """

    def __init__(self, control: socket.socket, reader: StudyReader, limits: DecodingLimits) -> None:
        self._control = control
        self._reader = reader
        self._limits = limits
        self._own_bytes = _address_space_bytes()
        # The last one, by its inode: it is likely to come again, and mapping it anew takes a while.
        self._arena: tuple[int, mmap.mmap] | None = None

    def serve_study(self) -> bool:
        """Read one study; False when there is none, or it was not well read."""
        place, descriptors, _, _ = socket.recv_fds(self._control, ORDER_PLACE.size, 2)
        if not place:
            return False
        # Ends the process (SIGPROF) once it has computed for so long; what a busy machine makes it wait does not count.
        signal.setitimer(signal.ITIMER_PROF, self._limits.time_s)
        study, arena = _map(descriptors[0]), self._map_arena(descriptors[1])
        most_bytes = self._own_bytes + len(study) + len(arena) + self._limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, resource.RLIM_INFINITY))
        begin, size = ORDER_PLACE.unpack(place)
        order = ORDER_JSON.validate_json(study[begin : begin + size])
        is_read = self._read(order, _files(order, study), Answers(self._control, ArenaMemory(arena)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        return is_read

    def _read(self, order: DecodingOrder, files: tuple[StudyFile, ...], answers: "Answers") -> bool:
        """Read and answer a study; whether it was read."""
        try:
            read = self._reader(
                files,
                selections=order.selections,
                known=order.known,
                memory=answers.memory,
                on_volume=answers.send_volume,
            )
            answers.send_study(read)
        except (MemoryError, RecursionError):
            os._exit(EXIT_LIMIT)
        except BrainmetsError as error:
            answers.send_refusal(error)
            return False
        except Exception as error:  # noqa: BLE001 -- whatever a hostile file raises, the service learns of it
            answers.send_refusal(_defect(error))
            return False
        return True

    def _map_arena(self, descriptor: int) -> mmap.mmap:
        inode = os.fstat(descriptor).st_ino
        if self._arena is not None and self._arena[0] == inode:
            os.close(descriptor)
            return self._arena[1]
        self._arena = None
        arena = _map(descriptor)
        self._arena = inode, arena
        return arena


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 -- pathlib is not needed for one read
        return int(statm.read().split()[0]) * mmap.PAGESIZE


def _map(descriptor: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def _files(order: DecodingOrder, study: mmap.mmap) -> tuple[StudyFile, ...]:
    whole = memoryview(study).toreadonly()
    return tuple(
        StudyFile(
            file_index=span.file_index,
            media_type=span.media_type,
            sequence=span.sequence,
            content=whole[span.offset_bytes : span.offset_bytes + span.size_bytes],
        )
        for span in order.files
    )


class ArenaMemory:
    """Gives out the arena's memory, from its beginning on.

    Args:
        arena: The memory, shared with the service.
    """

    def __init__(self, arena: mmap.mmap) -> None:
        self._arena = arena
        self._lock = threading.Lock()
        self._begins: dict[int, int] = {}
        self._end = 0

    def __call__(self, shape: Index) -> NDArray[np.float32]:
        """Return memory for a volume.

        Raises:
            MemoryError: The arena is full.
        """
        size = math.prod(shape) * _VOXEL_BYTES
        begin = self._take(size)
        self._arena.madvise(_MADV_POPULATE_WRITE, begin, size)
        voxels = np.frombuffer(self._arena, np.float32, math.prod(shape), begin).reshape(shape)
        self._begins[voxels.ctypes.data] = begin
        return voxels

    def _take(self, size: int) -> int:
        with self._lock:
            begin = self._end
            # On whole pages, so that each can be had from the kernel on its own.
            self._end += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            if self._end > len(self._arena):
                raise MemoryError
            return begin

    def write(self, content: bytes) -> int:
        """Put bytes into memory of their own, and return where it begins.

        Raises:
            MemoryError: The arena is full.
        """
        begin = self._take(len(content))
        self._arena[begin : begin + len(content)] = content
        return begin

    def find(self, voxels: NDArray[np.float32]) -> int:
        """Return where a volume's voxels begin; they are copied here if they lie elsewhere."""
        begin = self._begins.get(voxels.ctypes.data)
        if begin is None or not voxels.flags.c_contiguous:
            copy = self(cast("Index", voxels.shape))
            np.copyto(copy, voxels)
            begin = self._begins[copy.ctypes.data]
        return begin


class Answers:
    """Tells the service where in an arena its answers lie.

    Args:
        control: The line to the service.
        memory: The arena's memory.
    """

    def __init__(self, control: socket.socket, memory: ArenaMemory) -> None:
        self.memory = memory
        self._control = control

    def send_volume(self, sequence: Sequence, volume: Volume) -> None:
        """Tell of a volume that was read."""
        grid = volume.geometry
        affine = tuple(grid.affine.ravel().tolist())
        span = VolumeSpan(sequence, grid.shape, affine, self.memory.find(volume.voxels))
        self._send(AnswerKind.VOLUME, VOLUME_JSON.dump_json(span))

    def send_study(self, read: ReadStudy) -> None:
        """Tell that all volumes were read."""
        study = DecodedStudy(dict(read.file_indices), read.series, read.findings, read.t1c_forms)
        self._send(AnswerKind.STUDY, DECODED_JSON.dump_json(study))

    def send_refusal(self, error: BrainmetsError) -> None:
        """Tell that the study was not read, and why."""
        refusal = Refusal(
            reason=error.reason,
            message=error.message,
            expected=error.expected,
            got=error.got,
            remedy=error.remedy,
            file_index=error.file_index,
        )
        self._send(AnswerKind.REFUSAL, REFUSAL_JSON.dump_json(refusal))

    def _send(self, kind: AnswerKind, answer: bytes) -> None:
        try:
            begin = self.memory.write(answer)
        except MemoryError:
            # A refusal too: whoever catches what a reader raises has nowhere left to tell it.
            os._exit(EXIT_LIMIT)
        self._control.send(ANSWER_PLACE.pack(kind, begin, len(answer)))


def _defect(error: Exception) -> BrainmetsError:
    """Name what was raised and where, but not its words: they may quote the file."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return InternalError(
        "The study could not be read",
        expected="a study, or a reason why it is none",
        got=f"{type(error).__name__} in {frame.f_code.co_qualname}, line {line}",
        remedy="report it as a defect of brainmets",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
