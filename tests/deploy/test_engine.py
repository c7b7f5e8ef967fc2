"""Every engine answers what ONNX Runtime answers in float32, and a broken exchange of tensors is noticed."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainmets.training.quantization import round_graph
from local.engine import (
    PIECE_DEPTH,
    Array,
    choose_kind,
    engine_file,
    find_disagreement,
    find_wrong_file,
    infer_in_pieces,
    open_engine,
    sample_tile,
)
from local.engine_kind import VARIABLE, EngineKind
from local.errors import StackError

CHANNELS = 4


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that keeps the model contract, a convolution and a sigmoid, and its int8 graph beside it."""
    weights = np.random.default_rng(1).normal(scale=0.2, size=(1, CHANNELS, 3, 3, 3)).astype(np.float32)
    shape = ("B", CHANNELS, "D + 2", "H", "W")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["tile", "weights"], ["logit"], pads=[0, 1, 1, 0, 1, 1]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "network",
        [helper.make_tensor_value_info("tile", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ("B", 1, "D", "H", "W"))],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    engine_file(EngineKind.OPENVINO_INT8, path).write_bytes(round_graph(path, [make_tile()]))
    return path


@pytest.fixture(scope="module")
def reference(network: Path) -> Array:
    """What ONNX Runtime answers for the sample tile."""
    return open_engine(EngineKind.ONNXRUNTIME, network).infer(make_tile())


def make_tile(size: int = 32) -> Array:
    """Return the sample tile, which decides two slices."""
    return sample_tile(channels=CHANNELS, depth=4, size=size)


@pytest.mark.parametrize("kind", EngineKind)
def test_engines_agree(network: Path, reference: Array, kind: EngineKind) -> None:
    """Within what bfloat16 and int8 cost."""
    assert find_disagreement(open_engine(kind, network).infer(make_tile()), reference) == ""


def test_openvino_in_float32_is_as_exact(network: Path, reference: Array) -> None:
    """It differs by rounding alone."""
    probability = open_engine(EngineKind.OPENVINO_F32, network).infer(make_tile())
    np.testing.assert_allclose(probability, reference, atol=1e-5)


@pytest.mark.parametrize("kind", EngineKind)
def test_tiles_of_many_shapes_are_inferred_in_turn(network: Path, kind: EngineKind) -> None:
    """Each slab of a head has its own, and none remembers the one before."""
    engine, exact = open_engine(kind, network), open_engine(EngineKind.ONNXRUNTIME, network)
    for size in (32, 64, 16, 48, 32):
        tile = make_tile(size)
        assert find_disagreement(engine.infer(tile), exact.infer(tile)) == ""


def test_an_answer_stays_when_the_next_tile_is_inferred(network: Path) -> None:
    """The engine's memory is used again, the answer's is not."""
    engine = open_engine(EngineKind.OPENVINO_F32, network)
    first = engine.infer(make_tile())
    kept = first.copy()
    engine.infer(-make_tile())
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", EngineKind)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_cannot_be_inferred_is_never_answered(network: Path, kind: EngineKind, threads: int) -> None:
    """Least of all with the tile before, which was another patient's; the next one is answered."""
    engine = open_engine(kind, network, threads=threads)
    answer = engine.infer(make_tile())
    with pytest.raises(Exception, match=r"(?i)conv"):  # each library has its own
        engine.infer(make_tile()[:, :, :1])
    np.testing.assert_array_equal(engine.infer(make_tile()), answer)


@pytest.mark.parametrize("kind", EngineKind)
@pytest.mark.parametrize("depth", [1, PIECE_DEPTH, PIECE_DEPTH + 1, 3 * PIECE_DEPTH + 2])
def test_pieces_are_the_whole(network: Path, kind: EngineKind, depth: int) -> None:
    """A tile that is decided some slices at a time is decided as it is at once."""
    engine = open_engine(kind, network)
    tiles = np.random.default_rng(2).normal(size=(2, CHANNELS, depth + 2, 16, 32)).astype(np.float32)
    pieces = infer_in_pieces(engine, tiles, halo=1)
    assert pieces.shape == (2, 1, depth, 16, 32)
    np.testing.assert_allclose(pieces, engine.infer(tiles), atol=1e-6)


def test_no_piece_is_larger_than_it_may_be() -> None:
    """What is inside a network takes no more memory for a deep tile."""
    seen: list[int] = []

    class Watched:
        def infer(self, tiles: Array) -> Array:
            seen.append(tiles.shape[2])
            return np.zeros((1, 1, tiles.shape[2] - 2, *tiles.shape[3:]), np.float32)

    infer_in_pieces(Watched(), np.zeros((1, CHANNELS, 25, 8, 8), np.float32), halo=1)
    assert seen == [8, 8, 7, 8]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(np.zeros_like, id="zeros"),
        pytest.param(lambda values: np.full_like(values, np.nan), id="no numbers"),
        pytest.param(lambda values: np.roll(values, 3, axis=-1), id="shifted"),
        pytest.param(lambda values: values[..., ::-1], id="mirrored"),
        pytest.param(lambda values: values[:, :, :1], id="a slice short"),
    ],
)
def test_wrong_values_are_noticed(reference: Array, broken: object) -> None:
    """Whatever right shapes they come in."""
    assert callable(broken)
    with np.errstate(all="ignore"):
        assert find_disagreement(broken(reference), reference)


def test_steps_near_nothing_are_no_disagreement(reference: Array) -> None:
    """A network that is sure of the background is served: one engine's 0 is another's 1e-9."""
    sure = reference**8
    stepped = np.where(sure < 1e-7, np.float32(0.0), sure)
    assert sure.min() < 1e-8
    assert find_disagreement(stepped, sure) == ""


def test_the_variable_chooses_the_engine(network: Path) -> None:
    """Over what the processor would be best at."""
    assert choose_kind({VARIABLE: "openvino-f32"}, network) is EngineKind.OPENVINO_F32


def test_an_unknown_engine_is_refused(network: Path) -> None:
    """The sentence lists those that there are."""
    with pytest.raises(StackError, match="openvino-bf16"):
        choose_kind({VARIABLE: "abacus"}, network)


@pytest.mark.parametrize(
    ("instructions", "rounded", "expected"),
    [("avx2 avx512_vnni", True, True), ("avx2 avx512f", True, False), ("avx2 avx512_vnni", False, False)],
)
def test_int8_is_chosen_where_graph_and_processor_have_it(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, instructions: str, rounded: bool, expected: bool
) -> None:
    """Without the instructions it would be slower and less exact, without the graph it is nothing."""
    processors = tmp_path / "cpuinfo"
    processors.write_text(f"processor\t: 0\nflags\t\t: fpu {instructions}\n")
    monkeypatch.setattr("local.engine.PROCESSORS", processors)
    model = network if rounded else tmp_path / "model.onnx"
    assert (choose_kind({}, model) is EngineKind.OPENVINO_INT8) is expected


@pytest.mark.parametrize("kind", EngineKind)
@pytest.mark.parametrize("tampered", ["model.onnx", "model.int8.onnx", ""])
def test_a_file_that_was_not_promised_is_named(network: Path, tmp_path: Path, kind: EngineKind, tampered: str) -> None:
    """The ONNX file to every engine, its int8 graph to the one that would run it."""
    shutil.copytree(network.parent, tmp_path, dirs_exist_ok=True)
    model = tmp_path / network.name
    files = {"onnx_sha256": model, "int8_sha256": engine_file(EngineKind.OPENVINO_INT8, model)}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    if tampered:
        (tmp_path / tampered).write_bytes(b"another network")
    minds = tampered == "model.onnx" or (tampered and kind is EngineKind.OPENVINO_INT8)
    assert find_wrong_file(kind, model, digests).startswith(f"{tampered}: expected SHA-256" if minds else "")
    assert bool(find_wrong_file(kind, model, digests)) is bool(minds)


def test_a_graph_without_a_promise_is_not_run(network: Path) -> None:
    """Whoever put it there, the configuration knows none."""
    digests = {"onnx_sha256": hashlib.sha256(network.read_bytes()).hexdigest()}
    assert "expected SHA-256 none" in find_wrong_file(EngineKind.OPENVINO_INT8, network, digests)
