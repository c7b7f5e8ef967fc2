"""What a codec complains of is heard, by whom it concerns; everybody else's standard error is left alone."""

import ctypes
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from brainmets.formats.codec_complaints import hear_complaints

LIBC = ctypes.CDLL(None)


def complain(words: bytes = b"Corrupt JPEG data\n") -> None:
    """Write as libjpeg does."""
    LIBC.fputs(words, ctypes.c_void_p.in_dll(LIBC, "stderr"))


def is_heard(work: Callable[[], object]) -> bool:
    """Return whether work complains."""
    return hear_complaints(work)[1]


def test_a_result_comes_with_whether_there_was_a_complaint() -> None:
    """Each call by itself: the next one is not blamed."""
    assert [hear_complaints(work) for work in (complain, lambda: 7, complain)] == [
        (None, True),
        (7, False),
        (None, True),
    ]


def test_a_complaint_of_any_length_is_heard_and_never_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """It may quote the file."""
    assert is_heard(lambda: complain(b"Doe^Jane" * 10_000))
    assert not is_heard(lambda: None)
    assert capfd.readouterr().err == ""


def test_what_others_write_meanwhile_is_no_complaint(capfd: pytest.CaptureFixture[str]) -> None:
    """It arrives where it was sent."""
    assert not is_heard(lambda: os.write(2, b"of another thread"))
    assert capfd.readouterr().err == "of another thread"


def test_standard_error_is_given_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """As after a result."""
    with pytest.raises(ZeroDivisionError):
        hear_complaints(lambda: 1 // 0)
    complain(b"of its user")
    assert capfd.readouterr().err == "of its user"


def test_no_thread_is_blamed_for_the_complaint_of_another() -> None:
    """However they interleave."""

    def work(*, complains: bool) -> bool:
        def linger() -> None:
            time.sleep(0.002)
            if complains:
                complain()
            time.sleep(0.002)

        return is_heard(linger)

    expected = [place % 3 == 0 for place in range(60)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda complains: work(complains=complains), expected)) == expected
