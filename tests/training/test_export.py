"""Tests of the export: the served graph is the trained network, or nothing is written."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from brainmets.gateway.model_contract import ModelDescription, TensorSpec, read_contract
from brainmets.imaging.errors import InvalidArgumentError, ModelContractError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.imaging.tile_contract import INPUT_NAME
from brainmets.runtime.network_version import find_graph, name_version
from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint, load_network, save_checkpoint
from brainmets.training.context import HALO, SERVED, VOLUME, Context
from brainmets.training.decisions import Decision, load_decision, save_decision
from brainmets.training.export import export_checkpoint, make_random_tiles, publish_graph
from brainmets.training.model_card import state_metrics
from brainmets.training.networks.blocks import WIDTHS
from brainmets.training.onnx_graph import MAX_IR_VERSION, OPSET, build_onnx, check_parity
from brainmets.training.served_contract import TILES
from brainmets.training.served_network import ServedNetwork
from local.engine import PIECE_DEPTH

NAME = "attention_unet"
FACTS = {"statement": 'Untrained,\nfor a "test" in mm³.', "known_failures": ['everything, "even" what\\ever']}
DECISION = Decision(
    temperature=2.0,
    points={
        OperatingPointName.SENSITIVE: OperatingPoint(0.2, 6.0, 0.5),
        OperatingPointName.BALANCED: OperatingPoint(0.4, 12.0, 0.6),
        OperatingPointName.SPECIFIC: OperatingPoint(0.8, 24.0, 0.9),
    },
)


def make_checkpoint(
    *, name: str = NAME, seed: int = 0, context: Context = SERVED, widths: tuple[int, ...] = WIDTHS
) -> Checkpoint:
    """Return an untrained network's checkpoint, its batch normalisations and biases moved off their start."""
    torch.manual_seed(seed)
    plan = TrainingPlan(name, 1, 1.0, context=context, widths=widths)
    network = plan.build_network()
    network.train()
    depth = (16,) if context.volumetric else ()
    for _ in range(3):
        network(torch.randn(2, context.input_channels, *depth, 32, 32))
    for part, weights in network.named_parameters():
        if "head" in part:
            # An untrained head says the prior everywhere, in which networks hardly differ.
            weights.data.mul_(20.0 if part.endswith("weight") else 0.0)
    state = network.state_dict()
    return Checkpoint(plan, 1, 2.0, state, state, {})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an exported network."""
    with warnings.catch_warnings():
        # The exporter's own: it deprecates parts of torch that it goes on using.
        warnings.simplefilter("ignore")
        return export_checkpoint(
            make_checkpoint(),
            tmp_path_factory.mktemp("repository"),
            decision=DECISION,
            real_tiles=(),
            facts=FACTS,
        )


@pytest.fixture(scope="module")
def network() -> ServedNetwork:
    """Return the same network in torch."""
    return ServedNetwork(load_network(make_checkpoint()), context=SERVED, temperature=DECISION.temperature)


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    """Return a Triton configuration."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_the_graph_is_one_that_production_reads(exported: Path) -> None:
    """Opset and IR version stay within what the production Triton's ONNX Runtime knows."""
    model = onnx.load(find_graph(exported))
    assert model.ir_version <= MAX_IR_VERSION
    assert [each.version for each in model.opset_import if not each.domain] == [OPSET]


def test_the_graph_names_no_path_of_the_machine_that_wrote_it(exported: Path) -> None:
    """The exporter's notes about its own run are taken out."""
    content = find_graph(exported).read_bytes()
    assert b".py" not in content


def test_the_graph_takes_any_valid_tile(exported: Path, network: ServedNetwork) -> None:
    """Batch, slices, rows and columns may vary, and every size agrees with torch."""
    content = find_graph(exported).read_bytes()
    assert check_parity(network, content, tiles=make_random_tiles()) < 1e-4


def test_a_slice_sees_its_own_neighbours(network: ServedNetwork) -> None:
    """The unfolding inside gives slice d the slices d to d + 2h of the tile, and nothing else."""
    tile = torch.randn(1, 4, 3 + 2 * HALO, 32, 32)
    with torch.inference_mode():
        whole = network(tile)
        alone = network(tile[:, :, 1 : 2 + 2 * HALO])
    assert torch.allclose(whole[:, :, 1:2], alone, atol=1e-5)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["nested_unet", "attention_unet"])
@pytest.mark.parametrize("context", [VOLUME, Context((0,)), Context((-1, 0, 1))], ids=["3-D", "2-D", "2.5-D"])
def test_other_contexts_keep_the_served_contract(tmp_path: Path, name: str, context: Context) -> None:
    """A volumetric network, and one with other slices, is saved, loaded, exported and gated as the shipped ones are."""
    widths = (2, 4, 4, 8, 8)
    save_checkpoint(make_checkpoint(name=name, context=context, widths=widths), tmp_path / "checkpoint.pt")
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    assert checkpoint.plan.context == context
    served = ServedNetwork(load_network(checkpoint), context=context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        content = build_onnx(served)
    assert check_parity(served, content, tiles=make_random_tiles()) < 1e-4
    tile = torch.randn(1, 4, 5 + 2 * HALO, 32, 32)
    with torch.inference_mode():
        assert served(tile).shape == (1, 1, 5, 32, 32)


def test_folding_keeps_the_function(network: ServedNetwork) -> None:
    """Batch normalisation folded into the convolutions computes what it computed beside them."""
    plain = load_network(make_checkpoint())
    slices = torch.randn(2, SERVED.input_channels, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network.network(slices), plain(slices), atol=1e-3)


def test_another_networks_graph_is_refused(exported: Path) -> None:
    """The gate compares values: a graph of other weights fails it."""
    other = ServedNetwork(load_network(make_checkpoint(seed=1)), context=SERVED)
    with pytest.raises(ModelContractError, match="another network"):
        check_parity(other, find_graph(exported).read_bytes(), tiles=make_random_tiles())


def test_a_graph_that_fails_the_gate_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    """Another network's graph cannot reach a model repository."""
    content = find_graph(exported).read_bytes()
    with pytest.raises(ModelContractError):
        publish_graph(content, make_checkpoint(seed=1), tmp_path, decision=DECISION, real_tiles=(), facts=FACTS)
    assert not list(tmp_path.iterdir())


def test_a_graph_has_its_digests_version(exported: Path) -> None:
    """So that no Triton takes another network for it."""
    digest = hashlib.sha256(find_graph(exported).read_bytes()).hexdigest()
    assert find_graph(exported).parent.name == name_version(digest)


@pytest.mark.parametrize("older", ["1", "4294967295"])
def test_what_was_made_of_an_older_graph_goes(exported: Path, tmp_path: Path, older: str) -> None:
    """Other weights, their int8 graph and their plan must not stay beside a new graph."""
    folder = tmp_path / NAME
    for name in ("model.onnx", "model.int8.onnx", "model.plan", "../configs/tensorrt.pbtxt"):
        (folder / older / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / older).mkdir(exist_ok=True)
        (folder / older / name).touch()
    content = find_graph(exported).read_bytes()
    publish_graph(content, make_checkpoint(), tmp_path, decision=DECISION, real_tiles=(), facts=FACTS)
    assert find_graph(folder).read_bytes() == content
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "model.onnx", "model_card.json", "config.pbtxt", "embedded.pbtxt", "gpu.pbtxt",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["config.pbtxt", "configs/embedded.pbtxt", "configs/gpu.pbtxt"])
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
    version = find_graph(exported).parent.name
    contract = read_contract(
        ModelDescription(config.name, version, parameters, tensors["in"], tensors["out"], ready=True)
    )
    digest = hashlib.sha256(find_graph(exported).read_bytes()).hexdigest()
    assert (contract.model_name, contract.points) == (NAME, DECISION.points)
    assert contract.training == FACTS["statement"]
    assert contract.model_card == json.loads((exported / "model_card.json").read_text())
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


def test_embedded_two_tiles_are_inferred_at_a_time(exported: Path) -> None:
    """By processes that share the cores; production's ONNX Runtime takes all of them for each."""
    embedded, native = read_config(exported / "configs/embedded.pbtxt"), read_config(exported / "config.pbtxt")
    assert [group.count for group in embedded.instance_group] == [2]
    assert [group.count for group in native.instance_group] == [1]


@pytest.mark.parametrize(("place", "depth"), [("config.pbtxt", TILES.depth), ("configs/embedded.pbtxt", PIECE_DEPTH)])
def test_warm_up_is_a_valid_tile(exported: Path, place: str, depth: int) -> None:
    """What Triton warms a model up with has the shape of a real tile, or of as much as is inferred at once."""
    (warm_up,) = read_config(exported / place).model_warmup
    channels, slices, rows, columns = warm_up.inputs[INPUT_NAME].dims
    assert (channels, slices) == (4, depth + 2 * TILES.halo)
    assert rows % TILES.stride == columns % TILES.stride == 0


def test_the_model_card_says_what_the_contract_says(exported: Path) -> None:
    """Card and contract are written from the same facts, and the card adds what it was given."""
    card = json.loads((exported / "model_card.json").read_text())
    assert card["onnx_sha256"] == hashlib.sha256(find_graph(exported).read_bytes()).hexdigest()
    assert card["research_use_only"] is True
    assert card["known_failures"] == ['everything, "even" what\\ever']
    assert card["temperature"] == 2.0
    assert card["operating_points"]["balanced"] == {
        "threshold": 0.4,
        "min_lesion_volume_mm3": 12.0,
        "min_peak_probability": 0.6,
    }


def test_a_temperature_divides_the_log_odds(network: ServedNetwork) -> None:
    """The served probability is the sigmoid of log-odds divided by the temperature."""
    cold = ServedNetwork(load_network(make_checkpoint()), context=SERVED)
    tile = torch.from_numpy(make_random_tiles()[0])
    with torch.inference_mode():
        assert torch.allclose(torch.logit(network(tile)), torch.logit(cold(tile)) / 2.0, atol=1e-3)


def test_a_decision_comes_back_as_it_was(tmp_path: Path) -> None:
    """What validation chose is what is exported, and an export without a choice is refused."""
    save_decision(DECISION, tmp_path / "decision.json", found={"chosen_on": ["a study"]})
    assert load_decision(tmp_path / "decision.json") == DECISION
    with pytest.raises(InvalidArgumentError, match="no decision"):
        load_decision(tmp_path / "another.json")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_0(temperature: float) -> None:
    """Others turn every probability into a half, or lesions into background."""
    with pytest.raises(InvalidArgumentError, match="temperature"):
        Decision(temperature, DECISION.points)


def test_thresholds_rise_from_sensitive_to_specific() -> None:
    """A decision that the gateway would refuse is not exported."""
    sensitive, _, specific = (DECISION.points[name] for name in OperatingPointName)
    swapped = {OperatingPointName.SENSITIVE: specific, OperatingPointName.SPECIFIC: sensitive}
    with pytest.raises(InvalidArgumentError, match="rise"):
        Decision(1.0, {**DECISION.points, **swapped})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Plan, progress and weights survive being written and read."""
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pt")
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (loaded.plan, loaded.update, loaded.elapsed_s) == (checkpoint.plan, 1, 2.0)
    assert all(torch.equal(loaded.averaged[name], each) for name, each in checkpoint.averaged.items())
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.integration
def test_u_net_plus_plus_exports_too(tmp_path: Path) -> None:
    """The nested network passes the same gate."""
    network = ServedNetwork(load_network(make_checkpoint(name="nested_unet")), context=SERVED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = build_onnx(network)
    (tmp_path / "model.onnx").write_bytes(content)
    tile = np.random.default_rng(1).standard_normal((1, 4, 2 + 2 * HALO, 48, 32), dtype=np.float32)
    assert check_parity(network, content, tiles=(tile,)) < 1e-4


def test_figures_are_stated_in_card_and_configuration(exported: Path, tmp_path: Path) -> None:
    """An evaluation's figures reach the card and what the gateway reads, and the graph stays the same."""
    folder = tmp_path / NAME
    shutil.copytree(exported, folder)
    figures = {
        "patient_dice": {"value": 0.5},
        "per_study": ["long"],
        "calibration": {"expected_calibration_error": 0.1},
    }
    entry = {"split": "test", "operating_point": "balanced", "date": "2026-01-01", "machine": "x86_64"}
    state_metrics(folder, {"data_sets": {"a set": {**entry, "networks": {NAME: figures, "mean": figures}}}})
    (metric,) = json.loads((folder / "model_card.json").read_text())["metrics"]
    assert metric["alone"] == {"patient_dice": {"value": 0.5}, "expected_calibration_error": 0.1}
    assert (metric["data_set"], metric["split"]) == ("a set", "test")
    config = read_config(folder / "config.pbtxt")
    assert json.loads(config.parameters["model_card"].string_value)["metrics"] == [metric]
    assert find_graph(folder).read_bytes() == find_graph(exported).read_bytes()
