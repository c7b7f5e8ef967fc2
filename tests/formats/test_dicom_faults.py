"""Each fault of a DICOM study is told as what it is, in bounded time and memory, without a word of the patient's."""

import time
import tracemalloc

import pytest

from brainmets.formats.study_reader import read_study
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.sequence import Sequence
from dicom_faults import FAULTS, IDENTITY, MIB, SOUND

MAX_SECONDS = 5.0
# The largest volume that is taken, in float32, and what is inflated to find a header.
MAX_BYTES = 600 * MIB


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_as_what_it_is(fault: str) -> None:
    """The kind, what was expected, what came and what to do; nothing of the patient; and quickly."""
    files, kind = FAULTS[fault]
    begin_s = time.process_time()
    with pytest.raises(BrainmetsError) as caught:
        read_study(files)
    assert time.process_time() - begin_s < MAX_SECONDS
    assert type(caught.value) is kind
    assert caught.value.expected
    assert caught.value.remedy
    assert not any(word in str(caught.value) for word in IDENTITY)


@pytest.mark.parametrize("fault", [name for name in FAULTS if any(word in name for word in ("bomb", "none", "2900"))])
def test_a_lie_costs_little_memory(fault: str) -> None:
    """What a file says of its size is believed only as far as its bytes go."""
    files, kind = FAULTS[fault]
    tracemalloc.start()
    with pytest.raises(kind):
        read_study(files)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < MAX_BYTES


def test_a_study_without_fault_is_read() -> None:
    """The ones above fail by their fault, and the next study succeeds."""
    assert read_study(SOUND).volumes[Sequence.T1C].geometry.shape == (5, 24, 20)
