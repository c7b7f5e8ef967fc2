"""The brain network is the one that its card describes, and computes what any other engine does."""

import json
from importlib import resources

import numpy as np
import onnxruntime
import pytest

from brainmets.imaging.brain_network import STRIDE, scale_coarse
from brainmets.imaging.errors import DataLossError
from brainmets.runtime import brain_weights

# What a clone and an image are ready to carry.
MOST_BYTES = 300 * 1024


def test_the_network_is_small() -> None:
    """It is part of the package."""
    assert len(brain_weights.load_brain_network().onnx) <= MOST_BYTES


def test_the_card_says_what_a_reader_must_know() -> None:
    """What it learned from, and what it never saw."""
    card = json.loads((resources.files(brain_weights.PACKAGE) / brain_weights.CARD_NAME).read_text())
    assert card["research_use_only"] is True
    for part in ("trained_on", "never_trained_on", "seed", "updates", "onnx_sha256"):
        assert card[part]


def test_a_changed_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not the card's finds no brain."""
    monkeypatch.setattr(brain_weights, "ONNX_NAME", "foreground.py")
    brain_weights.load_brain_network.cache_clear()
    with pytest.raises(DataLossError):
        brain_weights.load_brain_network()
    brain_weights.load_brain_network.cache_clear()


@pytest.mark.parametrize("shape", [(8, 8, 8), (24, 40, 32)])
def test_opencv_and_onnx_runtime_agree(shape: tuple[int, int, int]) -> None:
    """Within a thousandth of a share, on noise with every intensity the network can see."""
    network = brain_weights.load_brain_network()
    coarse = np.random.default_rng(1).gamma(1.0, 1.0, shape).astype(np.float32)
    assert all(size % STRIDE == 0 for size in shape)
    session = onnxruntime.InferenceSession(network.onnx, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: scale_coarse(coarse)[None, None]})
    np.testing.assert_allclose(network.infer(coarse), expected[0, 0], atol=1e-3)
