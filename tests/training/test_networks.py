"""Tests of the networks: every rule holds for each of them."""

import pytest
import torch

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.networks import NETWORKS, build_network
from brainmets.training.networks.attention_unet import AttentionGate
from brainmets.training.networks.blocks import SliceNetwork
from brainmets.training.patches import INPUT_CHANNELS


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> SliceNetwork:
    """Return a network with fresh parameters."""
    torch.manual_seed(0)
    return build_network(request.param, input_channels=INPUT_CHANNELS)


class TestEveryNetwork:
    """What holds for every network."""

    @pytest.mark.parametrize("size", [(16, 16), (16, 48), (80, 32)])
    def test_any_multiple_of_the_stride_keeps_its_size(self, network: SliceNetwork, size: tuple[int, int]) -> None:
        """Logits have the slices' rows and columns, whatever multiples of 16 they are."""
        network.eval()
        assert network(torch.zeros(2, INPUT_CHANNELS, *size)).shape == (2, 1, *size)

    def test_a_wrong_size_names_the_nearest_valid_one(self, network: SliceNetwork) -> None:
        """Slices that the poolings do not divide are refused, and the message says what would fit."""
        with pytest.raises(InvalidArgumentError, match="to 32 x 48"):
            network(torch.zeros(1, INPUT_CHANNELS, 30, 50))

    def test_every_parameter_gets_a_gradient(self, network: SliceNetwork) -> None:
        """No part of a network is left out of training."""
        outputs = network.supervise(torch.randn(2, INPUT_CHANNELS, 32, 32))
        torch.stack([output.sum() for output in outputs]).sum().backward()
        still = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
        assert still == []

    def test_the_deciding_output_is_the_last_supervised_one(self, network: SliceNetwork) -> None:
        """What is served is the deepest of what was trained."""
        network.eval()
        slices = torch.randn(1, INPUT_CHANNELS, 32, 32)
        assert torch.equal(network(slices), network.supervise(slices)[-1])

    def test_a_batch_decides_each_slice_alone(self, network: SliceNetwork) -> None:
        """A slice's logits do not depend on what else is in its batch."""
        network.eval()
        slices = torch.randn(3, INPUT_CHANNELS, 32, 32)
        assert torch.allclose(network(slices)[1:2], network(slices[1:2]), atol=1e-4)


def test_a_closed_gate_lets_nothing_pass() -> None:
    """With coefficients of zero the skip connection is silent, with coefficients of one it is unchanged."""
    gate = AttentionGate(16, 32)
    x, g = torch.randn(1, 16, 8, 8), torch.randn(1, 32, 4, 4)
    torch.nn.init.zeros_(gate.psi.weight)
    for bias, expected in ((-200.0, torch.zeros_like(x)), (200.0, x)):
        torch.nn.init.constant_(gate.psi.bias, bias)
        assert torch.allclose(gate(x, g), expected)


def test_nested_unet_is_supervised_at_four_depths() -> None:
    """U-Net++ of five levels trains the outputs of X^{0,1} to X^{0,4}."""
    network = build_network("nested_unet", input_channels=INPUT_CHANNELS)
    assert len(network.supervise(torch.zeros(2, INPUT_CHANNELS, 16, 16))) == 4
