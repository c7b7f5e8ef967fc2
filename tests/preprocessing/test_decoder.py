"""A decoder by itself: whether it waits for a study."""

import asyncio
import socket
import sys

from brainmets.preprocessing.decoder import Decoder
from brainmets.preprocessing.decoding_messages import ANSWER_PLACE, AnswerKind, DecodingLimits


async def test_a_decoder_that_speaks_unasked_is_not_alive() -> None:
    """The next patient's study would take it for its own answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    decoder = Decoder(
        await asyncio.create_subprocess_exec(sys.executable, "-c", ""), ours, DecodingLimits(1.0, memory_bytes=0)
    )
    with ours, theirs:
        assert decoder.is_alive
        theirs.send(ANSWER_PLACE.pack(AnswerKind.STUDY, 0, 0))
        assert not decoder.is_alive
    await decoder.end()
