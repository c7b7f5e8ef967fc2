"""PNG files hold the very pixels they were written from, as another reader sees them."""

import io

import numpy as np
import pytest
from PIL import Image

from brainmets.formats.png import write_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (40, 30)])
def test_a_picture_comes_back_as_it_was(shape: tuple[int, int]) -> None:
    """Every byte of every channel, over all differences between neighbouring lines."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(write_png(pixels))) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_its_digests_hold() -> None:
    """A reader that checks every chunk's CRC and the stream's own finds nothing wrong."""
    written = write_png(np.full((5, 4, 3), 200, dtype=np.uint8))
    with Image.open(io.BytesIO(written)) as image:
        image.verify()
    broken = written.replace(b"IDAT", b"IDAT\x00", 1)
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(broken)) as image:
        image.verify()
