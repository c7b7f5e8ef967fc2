"""Owns one decoder: a process that reads studies under limits, and is never used again once one went wrong."""

import asyncio
import contextlib
import math
import os
import signal
import socket
import struct
import sys
from typing import Self

import numpy as np

from brainmets.formats.study_reader import ReadStudy, VolumeListener
from brainmets.imaging.errors import (
    BrainmetsError,
    DecodingLimitError,
    DependencyUnavailableError,
    InternalError,
    MalformedFileError,
    RequestError,
    StudyError,
)
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
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
)
from brainmets.preprocessing.shared_memory import Arena, StudyBytes
from brainmets.runtime.grpc_errors import STATUS_CODES

# Imports take half a second; a machine may be busy.
START_S = 30.0
# One that has neither answered nor ended after so many times what it may compute stands still, or the machine does.
PATIENCE = 10.0
# A series of the answer takes some 300 bytes, and a study has thousands of them at most.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_PROGRAM = "brainmets.preprocessing.decoder_process"
# Nothing of the service's, which holds secrets. glibc gives memory back to the kernel when a study is read, and fetches
# it page by page for the next one; with one heap that is only trimmed from 256 MiB on, what an ordinary study needs is
# kept (mallopt(3)). Numerical libraries start no threads of their own: their memory counts.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1024**3),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
# Reasons that a decoder may give: the study's, and the request's that come to light with it.
_REASONS = {kind.reason: kind for kind in STATUS_CODES if issubclass(kind, StudyError | RequestError)}
# Ends that come from outside: the kernel's when memory runs out, an operator's, a limit of the whole process.
_ENDED_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGXCPU})


class Decoder:
    """A process that reads one study at a time; whoever gets an error from it must end it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket, limits: DecodingLimits) -> None:
        self._process = process
        self._control = control
        self._limits = limits

    @classmethod
    async def start(cls, reader: str, limits: DecodingLimits) -> Self:
        """Start a process and return once it takes orders. It shares neither environment nor files with the service.

        Args:
            reader: Function that reads a study, as module:function.
            limits: What a study may take.

        Raises:
            OSError: It did not start.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = await _start_process(theirs, reader, limits)
        except BaseException:
            ours.close()
            raise
        decoder = cls(process, ours, limits)
        try:
            await decoder._wait_until_ready()
        except BaseException:
            await decoder.end()
            raise
        return decoder

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                is_ready = await self._receive(len(READY)) == READY
        except TimeoutError:
            message = f"a decoding process was not ready within {START_S:g} s"
            raise OSError(message) from None
        if not is_ready:
            message = "a decoding process ended before it could take a study"
            raise OSError(message)

    @property
    def is_alive(self) -> bool:
        """Whether it waits for a study; asked of an idle decoder only."""
        try:
            # The end of the line, or an answer to no question, which the next patient's study would take for its own.
            with contextlib.suppress(ConnectionError):
                self._control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def kill(self) -> None:
        """End it at once, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End it, and return when nothing of it is left."""
        self.kill()
        self._control.close()
        await self._process.wait()

    async def read_study(
        self, study: StudyBytes, arena: Arena, order: DecodingOrder, *, on_volume: VolumeListener
    ) -> ReadStudy:
        """Read a study; its volumes lie in the arena, and each is told as soon as it does.

        Raises:
            StudyError: It cannot be read, takes more than the limits (DecodingLimitError), or broke the decoder.
            RequestError: It is not clear what the request wants of it.
            DependencyUnavailableError: The decoder was ended from outside, or neither answered nor ended.
            InternalError: The decoder has a defect.
        """
        try:
            async with asyncio.timeout(PATIENCE * self._limits.time_s):
                self._ask(study, arena, order)
                read = await self._take_answers(arena, order, on_volume)
                if read is None:
                    raise self._error_of_end(await self._process.wait(), order)
                return read
        except TimeoutError:
            # By this clock alone nobody knows that it is the study's fault.
            raise _unavailable("one that neither answers nor ends") from None

    async def _take_answers(self, arena: Arena, order: DecodingOrder, on_volume: VolumeListener) -> ReadStudy | None:
        """Return what was read once all of it was told; None when the process says no more."""
        volumes: dict[Sequence, Volume] = {}
        while place := await self._receive(ANSWER_PLACE.size):
            try:
                answer = _open_answer(place, arena)
            except (ValueError, OverflowError, struct.error) as error:
                # Bytes that took the decoder over may have it say anything.
                raise _broken("an answer that cannot be read", order) from error
            if isinstance(answer, Refusal):
                raise _error_of_refusal(answer)
            if isinstance(answer, DecodedStudy):
                if answer.file_indices.keys() != volumes.keys():
                    raise _broken("another number of volumes than it says", order)
                # In the order of the networks' channels.
                known = [sequence for sequence in order.known if sequence in volumes]
                return ReadStudy(
                    {sequence: volumes[sequence] for sequence in known},
                    {sequence: answer.file_indices[sequence] for sequence in known},
                    answer.series,
                    answer.findings,
                    answer.t1c_forms,
                )
            sequence, volume = answer
            if sequence in volumes:
                raise _broken("a volume twice", order)
            volumes[sequence] = volume
            on_volume(sequence, volume)
        return None

    def _error_of_end(self, exit_code: int, order: DecodingOrder) -> BrainmetsError:
        """Return what a study is answered whose decoder ended under it; a negative code is the signal that ended it."""
        if exit_code == EXIT_LIMIT:
            return _limit_error("more memory", order)
        if exit_code == -signal.SIGPROF:
            return _limit_error(f"{self._limits.time_s:g} s of computing", order)
        if exit_code in _ENDED_FROM_OUTSIDE:
            return _unavailable(signal.Signals(-exit_code).name)
        return _broken("bytes that end the decoder", order)

    def _ask(self, study: StudyBytes, arena: Arena, order: DecodingOrder) -> None:
        words = ORDER_JSON.dump_json(order)
        study.write(words, offset_bytes=study.size_bytes)
        place = ORDER_PLACE.pack(study.size_bytes, len(words))
        # One that has ended is found to have by whoever waits for its answer.
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._control, [place], [study.descriptor, arena.descriptor])

    async def _receive(self, size: int) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._control, size)
        except ConnectionError:
            return b""


async def _start_process(control: socket.socket, reader: str, limits: DecodingLimits) -> asyncio.subprocess.Process:
    words = (control.fileno(), os.getpid(), reader, limits.time_s, limits.memory_bytes)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", _PROGRAM, *map(str, words)),
        env=_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=(control.fileno(),),
        stdin=asyncio.subprocess.DEVNULL,
        # A terminal's Ctrl-C is the service's to answer.
        start_new_session=True,
    )


def _open_answer(place: bytes, arena: Arena) -> tuple[Sequence, Volume] | DecodedStudy | Refusal:
    """Return what lies in the arena; volumes stay on its memory."""
    kind, begin, size = ANSWER_PLACE.unpack(place)
    words = arena.read(min(size, MAX_ANSWER_BYTES), offset_bytes=begin)
    match AnswerKind(kind):
        case AnswerKind.VOLUME:
            span = VOLUME_JSON.validate_json(words)
            count = math.prod(span.shape)
            view = arena.view(span.offset_bytes + count * np.dtype(np.float32).itemsize)
            voxels = np.frombuffer(view, np.float32, count, span.offset_bytes).reshape(span.shape)
            return span.sequence, Volume(voxels, Geometry(span.shape, np.array(span.affine).reshape(4, 4)))
        case AnswerKind.STUDY:
            return DECODED_JSON.validate_json(words)
        case AnswerKind.REFUSAL:
            return REFUSAL_JSON.validate_json(words)


def _error_of_refusal(refusal: Refusal) -> BrainmetsError:
    return _REASONS.get(refusal.reason, InternalError)(
        refusal.message,
        expected=refusal.expected,
        got=refusal.got,
        remedy=refusal.remedy,
        file_index=refusal.file_index,
    )


def _unavailable(got: str) -> DependencyUnavailableError:
    return DependencyUnavailableError(
        "The decoder did not come to answer",
        expected="a decoder that is left alone, and given time and memory",
        got=got,
        remedy="retry; if it lasts, give the service more memory and cores",
    )


def _limit_error(got: str, order: DecodingOrder) -> BrainmetsError:
    return DecodingLimitError(
        "The study takes too much to decode",
        expected="the time and memory that a real study needs",
        got=got,
        remedy="export the series again; an operator can raise the limits",
        file_index=_lone_file(order),
    )


def _broken(got: str, order: DecodingOrder) -> BrainmetsError:
    return MalformedFileError(
        "The study cannot be decoded",
        expected="files of the format they claim to be",
        got=got,
        remedy="export the series again",
        file_index=_lone_file(order),
    )


def _lone_file(order: DecodingOrder) -> int | None:
    # Of several nobody can tell which one it was.
    return order.files[0].file_index if len(order.files) == 1 else None
