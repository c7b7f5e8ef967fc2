"""Owns page tokens: the place in the order of jobs where the next page of a listing begins."""

import base64
import binascii

from brainmets.gateway.store_refusals import invalid_argument

_SEQUENCE_BYTES = 8


def token_from_sequence(sequence: int) -> str:
    """Return the token of the page that follows the job with this number."""
    return base64.urlsafe_b64encode(sequence.to_bytes(_SEQUENCE_BYTES, "big")).decode()


def sequence_from_token(token: str) -> int:
    """Return the number of the job that a page follows.

    Raises:
        InvalidArgumentError: The token is not one of `token_from_sequence`'s.
    """
    try:
        sequence = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        sequence = b""
    if len(sequence) != _SEQUENCE_BYTES:
        raise invalid_argument("page_token", expected="a next_page_token of ListJobs", got="something else")
    return int.from_bytes(sequence, "big")
