"""What is written as PNG is read back by others, pixel for pixel."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmets.formats.png import write_png


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """Return pixels that nothing compresses."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "pixels", [noise(1, 1), noise(1, 300), noise(300, 1), noise(77, 113), np.zeros((9, 5, 3), np.uint8)]
)
def test_readers_agree(pixels: NDArray[np.uint8]) -> None:
    """Two that have nothing in common but the standard."""
    written = write_png(pixels)
    with Image.open(io.BytesIO(written)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    decoded = cv2.imdecode(np.frombuffer(written, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], pixels)


def test_a_smooth_picture_is_small() -> None:
    """Rows that are like the row above cost little."""
    picture = np.tile(noise(1, 400), (300, 1, 1))
    assert len(write_png(picture)) < picture.nbytes / 50


def test_a_damaged_file_is_noticed() -> None:
    """Each chunk carries its checksum."""
    written = bytearray(write_png(noise(40, 40)))
    written[60] ^= 1
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(bytes(written))) as picture:
        picture.load()
