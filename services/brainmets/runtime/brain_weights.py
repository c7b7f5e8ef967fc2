"""Owns the brain network as it is shipped: an ONNX file inside the package, and the card that names its digest."""

import hashlib
import json
from functools import cache
from importlib import resources

from brainmets.imaging.brain_network import BrainNetwork
from brainmets.imaging.errors import DataLossError

PACKAGE = "brainmets.imaging"
ONNX_NAME, CARD_NAME = "brain_network.onnx", "brain_network.json"


@cache
def load_brain_network() -> BrainNetwork:
    """Return the shipped network, read once.

    Raises:
        DataLossError: The file is not the one that its card describes.
    """
    folder = resources.files(PACKAGE)
    content = (folder / ONNX_NAME).read_bytes()
    expected = json.loads((folder / CARD_NAME).read_text())["onnx_sha256"]
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise DataLossError(
            "The brain network was changed since it was shipped",
            expected=f"SHA-256 {expected}",
            got=digest,
            remedy="install brainmets again",
        )
    return BrainNetwork(content)
