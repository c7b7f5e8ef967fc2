"""Tests of the export: the served graph is the trained network, or nothing is written."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from brainmets.gateway.model_contract import INPUT_NAME, ModelDescription, TensorSpec, read_contract
from brainmets.imaging.errors import ModelContractError
from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint, load_network, save_checkpoint
from brainmets.training.export import OperatingPoint, export_checkpoint, make_random_tiles, publish_graph
from brainmets.training.networks import build_network
from brainmets.training.onnx_graph import MAX_IR_VERSION, OPSET, build_onnx, check_parity
from brainmets.training.patches import HALO, INPUT_CHANNELS
from brainmets.training.served_contract import TILES
from brainmets.training.served_network import ServedNetwork

NAME = "attention_unet"


def make_checkpoint(*, name: str = NAME, seed: int = 0) -> Checkpoint:
    """Return an untrained network's checkpoint, its batch normalisations and biases moved off their start."""
    torch.manual_seed(seed)
    network = build_network(name, input_channels=INPUT_CHANNELS)
    network.train()
    for _ in range(3):
        network(torch.randn(2, INPUT_CHANNELS, 32, 32))
    for part, weights in network.named_parameters():
        if "head" in part:
            # An untrained head says the prior everywhere, in which networks hardly differ.
            weights.data.mul_(20.0 if part.endswith("weight") else 0.0)
    state = network.state_dict()
    return Checkpoint(TrainingPlan(name, 1, 1.0), 1, 2.0, state, state, {})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an exported network."""
    with warnings.catch_warnings():
        # The exporter's own: it deprecates parts of torch that it goes on using.
        warnings.simplefilter("ignore")
        return export_checkpoint(
            make_checkpoint(),
            tmp_path_factory.mktemp("repository"),
            point=OperatingPoint(threshold=0.4, min_lesion_volume_mm3=12.0),
            real_tiles=(),
            statement="Untrained, for a test.",
            card={"known_failures": ["everything"]},
        )


@pytest.fixture(scope="module")
def network() -> ServedNetwork:
    """Return the same network in torch."""
    return ServedNetwork(load_network(make_checkpoint()))


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    """Return a Triton configuration."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_the_graph_is_one_that_production_reads(exported: Path) -> None:
    """Opset and IR version stay within what the production Triton's ONNX Runtime knows."""
    model = onnx.load(exported / "1" / "model.onnx")
    assert model.ir_version <= MAX_IR_VERSION
    assert [each.version for each in model.opset_import if not each.domain] == [OPSET]


def test_the_graph_names_no_path_of_the_machine_that_wrote_it(exported: Path) -> None:
    """The exporter's notes about its own run are taken out."""
    content = (exported / "1" / "model.onnx").read_bytes()
    assert b".py" not in content


def test_the_graph_takes_any_valid_tile(exported: Path, network: ServedNetwork) -> None:
    """Batch, slices, rows and columns may vary, and every size agrees with torch."""
    content = (exported / "1" / "model.onnx").read_bytes()
    assert check_parity(network, content, tiles=make_random_tiles()) < 1e-4


def test_a_slice_sees_its_own_neighbours(network: ServedNetwork) -> None:
    """The unfolding inside gives slice d the slices d to d + 2h of the tile, and nothing else."""
    tile = torch.randn(1, 4, 3 + 2 * HALO, 32, 32)
    with torch.inference_mode():
        whole = network(tile)
        alone = network(tile[:, :, 1 : 2 + 2 * HALO])
    assert torch.allclose(whole[:, :, 1:2], alone, atol=1e-5)


def test_folding_keeps_the_function(network: ServedNetwork) -> None:
    """Batch normalisation folded into the convolutions computes what it computed beside them."""
    plain = load_network(make_checkpoint())
    slices = torch.randn(2, INPUT_CHANNELS, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network.network(slices), plain(slices), atol=1e-3)


def test_another_networks_graph_is_refused(exported: Path) -> None:
    """The gate compares values: a graph of other weights fails it."""
    other = ServedNetwork(load_network(make_checkpoint(seed=1)))
    with pytest.raises(ModelContractError, match="another network"):
        check_parity(other, (exported / "1" / "model.onnx").read_bytes(), tiles=make_random_tiles())


def test_a_graph_that_fails_the_gate_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    """Another network's graph cannot reach a model repository."""
    content = (exported / "1" / "model.onnx").read_bytes()
    point = OperatingPoint(0.5, 10.0)
    with pytest.raises(ModelContractError):
        publish_graph(
            content, make_checkpoint(seed=1), tmp_path, point=point, real_tiles=(), statement="Wrong.", card={}
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["config.pbtxt", "configs/gpu.pbtxt"])
def test_the_gateway_accepts_the_written_contract(exported: Path, place: str) -> None:
    """The contract that the export writes is the one that the gateway reads."""
    config = read_config(exported / place)
    tensors = {
        side: tuple(
            TensorSpec(each.name, model_config_pb2.DataType.Name(each.data_type), tuple(each.dims)) for each in every
        )
        for side, every in (("in", config.input), ("out", config.output))
    }
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    contract = read_contract(ModelDescription(config.name, "1", parameters, tensors["in"], tensors["out"], ready=True))
    digest = hashlib.sha256((exported / "1" / "model.onnx").read_bytes()).hexdigest()
    assert (contract.model_name, contract.threshold, contract.min_lesion_volume_mm3) == (NAME, 0.4, 12.0)
    assert contract.tiles == TILES
    assert contract.onnx_sha256 == digest


def test_the_gpu_has_its_own_engine(exported: Path) -> None:
    """The CPU's configuration asks for no GPU; the GPU's batches tiles and runs them through TensorRT."""
    cpu, gpu = read_config(exported / "config.pbtxt"), read_config(exported / "configs/gpu.pbtxt")
    kinds = model_config_pb2.ModelInstanceGroup.Kind
    assert [group.kind for group in cpu.instance_group] == [kinds.Value("KIND_CPU")]
    assert [group.kind for group in gpu.instance_group] == [kinds.Value("KIND_GPU")]
    assert gpu.HasField("dynamic_batching")
    accelerators = gpu.optimization.execution_accelerators.gpu_execution_accelerator
    assert [each.name for each in accelerators] == ["tensorrt"]


def test_warm_up_is_a_valid_tile(exported: Path) -> None:
    """What Triton warms a model up with has the shape of a real tile."""
    (warm_up,) = read_config(exported / "config.pbtxt").model_warmup
    channels, slices, rows, columns = warm_up.inputs[INPUT_NAME].dims
    assert (channels, slices) == (4, TILES.depth + 2 * TILES.halo)
    assert rows % TILES.stride == columns % TILES.stride == 0


def test_the_model_card_says_what_the_contract_says(exported: Path) -> None:
    """Card and contract are written from the same facts, and the card adds what it was given."""
    card = json.loads((exported / "model_card.json").read_text())
    assert card["onnx_sha256"] == hashlib.sha256((exported / "1" / "model.onnx").read_bytes()).hexdigest()
    assert card["research_use_only"] is True
    assert card["known_failures"] == ["everything"]


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Plan, progress and weights survive being written and read."""
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pt")
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (loaded.plan, loaded.update, loaded.elapsed_s) == (checkpoint.plan, 1, 2.0)
    assert all(torch.equal(loaded.averaged[name], each) for name, each in checkpoint.averaged.items())
    assert not list(tmp_path.glob("*.part"))


def test_u_net_plus_plus_exports_too(tmp_path: Path) -> None:
    """The nested network passes the same gate."""
    network = ServedNetwork(load_network(make_checkpoint(name="nested_unet")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = build_onnx(network)
    (tmp_path / "model.onnx").write_bytes(content)
    tile = np.random.default_rng(1).standard_normal((1, 4, 2 + 2 * HALO, 48, 32), dtype=np.float32)
    assert check_parity(network, content, tiles=(tile,)) < 1e-4
