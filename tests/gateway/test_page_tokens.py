"""Page tokens: opaque, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmets.gateway.page_tokens import sequence_from_token, token_from_sequence
from brainmets.imaging.errors import InvalidArgumentError


@given(st.integers(0, 2**63))
def test_token_gives_its_number_back(sequence: int) -> None:
    """A token names one place in the order of jobs."""
    assert sequence_from_token(token_from_sequence(sequence)) == sequence


@pytest.mark.parametrize("token", ["", "x", "AAAA", "AAAAAAAAAAA=\n", "ü"])
def test_anything_else_is_refused(token: str) -> None:
    """What this service did not hand out is an invalid argument."""
    with pytest.raises(InvalidArgumentError):
        sequence_from_token(token)
