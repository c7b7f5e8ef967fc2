"""Tests of the plan builder as far as it goes without a GPU: precision, its gate, the key, the configuration."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import numpy_helper
from tritonclient.grpc import model_config_pb2

from brainmets.engine import __main__ as command
from brainmets.engine.plan import BuildPlace, find_key, find_missing, publish_plan, render_plan_config
from brainmets.engine.precision import Precision, check_parity, infer_on_cpu, write_graph
from brainmets.engine.served_model import LESION_RADII, ServedModel, load_served_models
from brainmets.imaging.errors import ModelContractError

REPOSITORY = Path(__file__).parents[2] / "model_repository"
PLACE = BuildPlace("10.13.3.9", "9.0")
VERSION = "2880154539"


@pytest.fixture(scope="module")
def model() -> ServedModel:
    """Return the shipped Attention U-Net."""
    return next(each for each in load_served_models(REPOSITORY) if each.folder.name == "attention_unet")


@pytest.fixture(scope="module")
def half(model: ServedModel) -> bytes:
    """Return its graph in half precision."""
    return write_graph(model, Precision.FP16)


def test_half_precision_lies_in_the_graph(half: bytes) -> None:
    """Weights of the convolutions are float16, and what goes in and out is float32."""
    graph = onnx.load_from_string(half).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    weights = {kinds[node.input[1]] for node in graph.node if node.op_type == "Conv"}
    assert weights == {onnx.TensorProto.FLOAT16}
    outside = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert outside == {onnx.TensorProto.FLOAT}


def test_half_precision_decides_alike(model: ServedModel, half: bytes) -> None:
    """The shipped network passes the gate in half precision, and is not the same to the bit."""
    parity = check_parity(model, infer_on_cpu(half), Precision.FP16, tiles=model.make_tiles())
    assert 0.0 < parity.largest_difference <= 0.005


def test_a_graph_that_overflows_is_refused(model: ServedModel) -> None:
    """A network that is itself in float32, and beyond half precision's largest number inside, fails the gate."""
    scaled = dataclasses.replace(model, content=_scale_inside(model.content, np.float32(2.0**20)))
    tiles = model.make_tiles()
    assert check_parity(model, infer_on_cpu(scaled.content), Precision.FP32, tiles=tiles).agreement == 1.0
    half = infer_on_cpu(write_graph(scaled, Precision.FP16))
    with pytest.raises(ModelContractError, match="something else"):
        check_parity(scaled, half, Precision.FP16, tiles=tiles)


def _scale_inside(content: bytes, factor: np.float32) -> bytes:
    """Return a graph whose first convolution answers a factor more and whose second, after a ReLU, takes it back."""
    graph = onnx.load_from_string(content)
    weights = {each.name: each for each in graph.graph.initializer}
    first, second = [node for node in graph.graph.node if node.op_type == "Conv"][:2]
    for name, by in ((first.input[1], factor), (first.input[2], factor), (second.input[1], 1 / factor)):
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]) * by, name))
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_an_engine_that_answers_nothing_is_refused(model: ServedModel, value: float) -> None:
    """All black, or no numbers at all, is not a precision."""

    def infer(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(infer_on_cpu(model.content)(tile), value)

    with pytest.raises(ModelContractError, match="something else"):
        check_parity(model, infer, Precision.FP16, tiles=model.make_tiles())


def test_the_tiles_hold_lesions_in_t1c_alone(model: ServedModel) -> None:
    """As many bright voxels as three balls have by geometry, and none in the other sequences."""
    bright = model.draw_lesions((1, 4, 32, 96, 96))[0] > 2.0
    volume = sum(4 / 3 * math.pi * radius**3 for radius in LESION_RADII)
    assert bright[0].sum() == pytest.approx(volume, rel=0.05)
    assert not bright[1:].any()


def test_tiles_in_which_nothing_is_found_compare_nothing(model: ServedModel) -> None:
    """An engine that answers only zeros would pass on them, so the gate refuses them."""
    empty = tuple(np.zeros_like(tile) for tile in model.make_tiles())
    with pytest.raises(ModelContractError, match="cannot be compared"):
        check_parity(model, infer_on_cpu(model.content), Precision.FP32, tiles=empty)


def test_every_part_decides_the_key(model: ServedModel) -> None:
    """Another graph, tile, TensorRT, GPU or precision is another plan."""
    keys = {
        find_key(model, Precision.FP16, PLACE),
        find_key(dataclasses.replace(model, content=b"another"), Precision.FP16, PLACE),
        find_key(dataclasses.replace(model, config=_larger_tiles(model)), Precision.FP16, PLACE),
        find_key(model, Precision.FP32, PLACE),
        find_key(model, Precision.FP16, dataclasses.replace(PLACE, tensorrt_version="11.0.0.1")),
        find_key(model, Precision.FP16, dataclasses.replace(PLACE, compute_capability="8.0")),
    }
    assert len(keys) == 6


def _larger_tiles(model: ServedModel) -> model_config_pb2.ModelConfig:
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(model.config)
    config.parameters["tile_max_size"].string_value = "320"
    return config


def test_a_plan_that_cannot_run_is_withdrawn_and_the_onnx_file_served_instead(tmp_path: Path) -> None:
    """What an earlier export published goes too, and the cache forgets the plan."""
    shutil.copytree(REPOSITORY / "attention_unet", tmp_path / "models" / "attention_unet")
    (tmp_path / "models" / "attention_unet" / "1").rename(tmp_path / "models" / "attention_unet" / VERSION)
    (model,) = load_served_models(tmp_path / "models")
    (model.folder / VERSION / "model.plan").write_bytes(b"of an earlier export")
    (model.folder / "configs" / "tensorrt.pbtxt").write_text(render_plan_config(model))
    cached = tmp_path / f"{find_key(model, Precision.FP16, PLACE)}.plan"
    cached.write_bytes(b"no plan")
    with pytest.raises(ModelContractError):
        publish_plan(model, Precision.FP16, cache=tmp_path, place=PLACE)
    assert not cached.exists()
    assert not (model.folder / VERSION / "model.plan").exists()
    served = (model.folder / "configs" / "tensorrt.pbtxt").read_text()
    assert served == (model.folder / "configs" / "gpu.pbtxt").read_text()


def test_a_plan_takes_every_tile_of_the_contract(model: ServedModel) -> None:
    """From one slice of one stride to a full batch of the largest tiles, all with their halo."""
    parameters = {name: value.string_value for name, value in model.config.parameters.items()}
    halo, size = int(parameters["tile_halo"]), int(parameters["tile_max_size"])
    shapes = model.shapes
    assert shapes.smallest == (1, 4, 1 + 2 * halo, 16, 16)
    assert shapes.largest == (model.config.max_batch_size, 4, int(parameters["tile_depth"]) + 2 * halo, size, size)
    assert all(low <= usual <= high for low, usual, high in zip(*dataclasses.astuple(shapes), strict=True))


def test_the_plans_configuration_is_the_models_own_but_for_the_engine(model: ServedModel) -> None:
    """The contract stays; TensorRT serves the plan on a GPU, in batches."""
    config = text_format.Parse(render_plan_config(model), model_config_pb2.ModelConfig())
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    assert config.HasField("dynamic_batching")
    assert config.parameters == model.config.parameters
    assert (config.input[0], config.output[0], config.max_batch_size) == (
        model.config.input[0], model.config.output[0], model.config.max_batch_size,
    )  # fmt: skip
    assert config.model_warmup[0] == model.config.model_warmup[0]
    assert config.version_policy == model.config.version_policy


def test_another_file_than_configured_is_refused(model: ServedModel, tmp_path: Path) -> None:
    """A plan is built from what the configuration names, or not at all."""
    (tmp_path / "attention_unet" / "1").mkdir(parents=True)
    (tmp_path / "attention_unet" / "1" / "model.onnx").write_bytes(b"another")
    (tmp_path / "attention_unet" / "config.pbtxt").write_text((model.folder / "config.pbtxt").read_text())
    with pytest.raises(ModelContractError, match="not the one"):
        load_served_models(tmp_path)
    assert command.main(["--repository", str(tmp_path)]) == command.FAILED


def test_two_versions_of_a_network_are_refused(model: ServedModel, tmp_path: Path) -> None:
    """It is not guessed which of them is served."""
    shutil.copytree(model.folder, tmp_path / "attention_unet")
    shutil.copytree(model.graph.parent, tmp_path / "attention_unet" / VERSION)
    with pytest.raises(ModelContractError, match=f"1, {VERSION}"):
        load_served_models(tmp_path)


@pytest.mark.skipif(not find_missing(), reason="this machine has TensorRT and a GPU")
def test_without_a_gpu_it_says_so_with_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be checked is, what could not be run is named, and the exit code is no failure's."""
    assert command.main(["--repository", str(REPOSITORY)]) == command.UNAVAILABLE
    said = capsys.readouterr()
    assert said.out.count("graph checked on the CPU") == 2
    assert "Not run: building the plan" in said.err
    assert not list(REPOSITORY.glob("*/*/model.plan"))
