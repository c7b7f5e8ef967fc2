"""Tests of the networks: every rule holds for each of them, planar and volumetric."""

import io
import itertools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from monai.networks.nets.attentionunet import AttentionBlock
from monai.networks.nets.attentionunet import AttentionUnet as MonaiAttentionUnet
from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
from torch import Tensor, nn

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.context import OFFSETS, SERVED
from brainmets.training.networks import NETWORKS, build_network
from brainmets.training.networks.attention_unet import AttentionGate, AttentionUnet
from brainmets.training.networks.blocks import PLANAR, VOLUMETRIC, SegmentationNetwork, Space, double
from brainmets.training.networks.nested_unet import NestedUnet
from brainmets.training.served_network import fold_normalisation

# Few feature maps: the rules are about how they are joined.
NARROW = (4, 6, 8, 10, 12)


@pytest.fixture(params=[PLANAR, VOLUMETRIC], ids=["2-D", "3-D"])
def space(request: pytest.FixtureRequest) -> Space:
    """Return planar or volumetric layers."""
    kept: Space = request.param
    return kept


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest, space: Space) -> SegmentationNetwork:
    """Return a network with fresh parameters."""
    torch.manual_seed(0)
    return build_network(request.param, input_channels=4, space=space, widths=NARROW)


def make_input(network: SegmentationNetwork, *, batch: int = 1, sizes: tuple[int, ...] = (32, 16, 32)) -> Tensor:
    """Return noise of a network's kind."""
    return torch.randn(batch, 4, *sizes[-network.space.axes :], generator=torch.Generator().manual_seed(1))


class TestEveryNetwork:
    """What holds for every network."""

    @pytest.mark.parametrize("sizes", [(16, 16, 16), (32, 16, 48), (16, 80, 32)])
    def test_any_multiple_of_the_stride_keeps_its_size(
        self, network: SegmentationNetwork, sizes: tuple[int, ...]
    ) -> None:
        """Logits have the input's sizes, whatever multiples of 16 they are."""
        network.eval()
        given = make_input(network, sizes=sizes)
        assert network(given).shape == (1, 1, *given.shape[2:])

    def test_a_wrong_size_names_the_nearest_valid_one(self, network: SegmentationNetwork) -> None:
        """What the poolings do not divide is refused, and the message says what would fit."""
        with pytest.raises(InvalidArgumentError, match="32 x 48"):
            network(make_input(network, sizes=(16, 30, 50)))

    def test_every_parameter_gets_a_gradient(self, network: SegmentationNetwork) -> None:
        """No part of a network is left out of training."""
        outputs = network.supervise(make_input(network, batch=2))
        torch.stack([output.square().sum() for output in outputs]).sum().backward()
        still = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
        assert still == []

    def test_the_deciding_output_is_the_last_supervised_one(self, network: SegmentationNetwork) -> None:
        """What is served is the deepest of what was trained."""
        network.eval()
        given = make_input(network)
        assert torch.equal(network(given), network.supervise(given)[-1])

    def test_a_batch_decides_each_sample_alone(self, network: SegmentationNetwork) -> None:
        """A sample's logits do not depend on what else is in its batch."""
        network.eval()
        given = make_input(network, batch=3)
        assert torch.allclose(network(given)[1:2], network(given[1:2]), atol=1e-4)

    def test_a_missing_sequence_is_zero_and_decided(self, network: SegmentationNetwork) -> None:
        """Sequences that were not acquired are zeros; the answer is finite, and another one than with them."""
        network.eval()
        given = make_input(network)
        alone = torch.cat([given[:, :1], torch.zeros_like(given[:, 1:])], dim=1)
        assert bool(network(alone).isfinite().all())
        assert not torch.allclose(network(alone), network(given))

    def test_the_same_seed_builds_the_same_network(self, network: SegmentationNetwork, space: Space) -> None:
        """Parameters are drawn from torch's seed alone."""
        name = next(name for name, kind in NETWORKS.items() if isinstance(network, kind))
        torch.manual_seed(0)
        again = build_network(name, input_channels=4, space=space, widths=NARROW)
        assert all(torch.equal(*pair) for pair in zip(network.parameters(), again.parameters(), strict=True))

    def test_the_graph_computes_the_same_and_nothing_else(self, network: SegmentationNetwork) -> None:
        """ONNX Runtime agrees with torch, with one output and without the heads that only training needs."""
        fold_normalisation(network.eval())
        given = make_input(network)
        content = export(network, given)
        (got,) = onnxruntime.InferenceSession(content).run(None, {"given": given.numpy()})
        with torch.inference_mode():
            expected = network(given).numpy()
        assert np.abs(got - expected).max() < 1e-4
        model = onnx.load_from_string(content)
        assert len(model.graph.output) == 1
        used = {name for node in model.graph.node for name in node.input}
        heads = [each.name for each in model.graph.initializer if "head" in each.name and each.name.endswith("weight")]
        assert len(heads) == 1
        assert {each.name for each in model.graph.initializer} <= used


def export(network: SegmentationNetwork, given: Tensor) -> bytes:
    """Return a network's graph."""
    with warnings.catch_warnings():
        # The exporter's own: it deprecates parts of torch that it goes on using.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (given,), dynamo=True, input_names=["given"], verbose=False)
    assert program is not None
    file = io.BytesIO()
    onnx.save(program.model_proto, file)
    return file.getvalue()


def test_the_shipped_networks_take_sequences_times_slices() -> None:
    """Planar networks see every sequence's slices of context."""
    for name in NETWORKS:
        network = build_network(name, input_channels=SERVED.input_channels).eval()
        assert network(torch.zeros(1, 4 * len(OFFSETS), 16, 16)).shape == (1, 1, 16, 16)


def test_a_closed_gate_lets_nothing_pass(space: Space) -> None:
    """With coefficients of zero the skip connection is silent, with coefficients of one it is unchanged."""
    gate = AttentionGate(16, 32, space)
    x, g = torch.randn(1, 16, *[8] * space.axes), torch.randn(1, 32, *[4] * space.axes)
    torch.nn.init.zeros_(gate.psi.weight)
    for bias, expected in ((-200.0, torch.zeros_like(x)), (200.0, x)):
        torch.nn.init.constant_(gate.psi.bias, bias)
        assert torch.allclose(gate(x, g), expected)


def test_nested_unet_is_supervised_at_four_depths(space: Space) -> None:
    """U-Net++ of five levels trains the outputs of X^{0,1} to X^{0,4}."""
    network = build_network("nested_unet", input_channels=4, space=space, widths=NARROW)
    assert len(network.supervise(make_input(network, batch=2))) == 4


class TestMonaiAgrees:
    """MONAI's implementations of the same papers, where they can be compared.

    Its layers differ by design (LeakyReLU and instance normalisation in U-Net++, transposed convolutions, strided
    convolutions for poolings, a gate at full resolution), so what is compared is how they are joined: our layers are
    put into its networks, whose `forward` alone decides which node reads what, and the gate's equations.
    """

    def test_the_nested_skips_are_joined_as_in_monai(self, space: Space) -> None:
        """With our nodes in MONAI's U-Net++, all four supervised outputs are ours, to the last bit."""
        ours = NestedUnet(4, space=space, widths=NARROW).eval()
        theirs = BasicUNetPlusPlus(
            spatial_dims=space.axes, in_channels=4, out_channels=1, features=(*NARROW, NARROW[0]), deep_supervision=True
        )
        theirs.conv_0_0 = ours.nodes["x_0_0"]
        for i in range(1, 5):
            getattr(theirs, f"conv_{i}_0").convs = ours.nodes[f"x_{i}_0"]
            setattr(theirs, f"final_conv_0_{i}", ours.heads[i - 1])
        for i, j in itertools.combinations(range(5), 2):
            join = getattr(theirs, f"upcat_{i}_{j - i}")
            join.upsample, join.convs = nn.Upsample(scale_factor=2.0), ours.nodes[f"x_{i}_{j - i}"]
        given = make_input(ours)
        with torch.inference_mode():
            outputs = zip(theirs.eval()(given), ours.supervise(given), strict=True)
            assert all(torch.equal(*pair) for pair in outputs)

    def test_the_gated_skips_are_joined_as_in_monai(self, space: Space) -> None:
        """With our layers in MONAI's Attention U-Net, the logits are ours, to the last bit."""
        ours = AttentionUnet(4, space=space, widths=NARROW).eval()
        theirs = MonaiAttentionUnet(
            spatial_dims=space.axes, in_channels=4, out_channels=1, channels=NARROW, strides=(2,) * 4
        )
        theirs.model[0], theirs.model[2] = ours.encoders[0], ours.head
        layer, pooling = theirs.model[1], (nn.MaxPool2d(2) if space is PLANAR else nn.MaxPool3d(2))
        for i in range(4):
            layer.upconv, layer.merge = nn.Upsample(scale_factor=2.0), ours.decoders[i]
            layer.attention = HalvedGate(ours.gates[i], pooling)
            encoder = nn.Sequential(pooling, ours.encoders[i + 1])
            # The lowest level has no layer of its own.
            if i == 3:
                layer.submodule = encoder
            else:
                layer.submodule[0] = encoder
                layer = layer.submodule[1]
        given = make_input(ours)
        with torch.inference_mode():
            assert torch.equal(theirs.eval()(given), ours(given))

    def test_the_gate_is_monais(self, space: Space) -> None:
        """Equations 1 and 2 give MONAI's coefficients where x and g are constant over our gate's windows.

        Ours reads x in windows of two voxels on each axis and gates at half the resolution, MONAI's each voxel. Its
        batch normalisations, which the paper has not, are left as the identity.
        """
        theirs = AttentionBlock(spatial_dims=space.axes, f_int=8, f_g=16, f_l=16).eval()
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.eps = 0.0
        ours = AttentionGate(16, 16, space)
        w_x, w_g, psi = theirs.W_x[0].conv, theirs.W_g[0].conv, theirs.psi[0].conv
        kernel = [2] * space.axes
        ours.load_state_dict(
            {
                "w_x.weight": w_x.weight.expand(-1, -1, *kernel) / 2**space.axes,
                "w_g.weight": w_g.weight,
                "w_g.bias": w_g.bias + w_x.bias,
                "psi.weight": psi.weight,
                "psi.bias": psi.bias,
            }
        )
        x, g = (torch.randn(1, 16, *[4] * space.axes, generator=torch.Generator().manual_seed(i)) for i in range(2))
        with torch.inference_mode():
            expected = theirs(g=double(g), x=double(x))
            assert torch.allclose(ours(double(x), g), expected, atol=1e-6)


class HalvedGate(nn.Module):
    """Our gate under MONAI's signature, whose gating signal was brought to x's resolution by repetition."""

    def __init__(self, gate: nn.Module, pooling: nn.Module) -> None:
        super().__init__()
        self.gate, self.pooling = gate, pooling

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """Return the gated x; the pooling undoes the repetition exactly."""
        gated: Tensor = self.gate(x, self.pooling(g))
        return gated
