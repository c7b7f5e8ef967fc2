"""Tests of early rounding: the same bytes come out, and what only moves values moves bytes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainmets.training.early_rounding import round_early

CHANNELS, SLICES = 2, 5
INPUT = np.random.default_rng(0).normal(size=(1, CHANNELS, SLICES, 4, 6)).astype(np.float32)


def whole(name: str, values: list[int]) -> onnx.TensorProto:
    """Return constant whole numbers."""
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def make_graph(*, mode: str = "nearest", kept: bool = False) -> onnx.ModelProto:
    """Return a graph that stacks two slices, enlarges them, rounds the result and gives it back.

    `kept` gives the enlarged values back too, so that they are needed as they are.
    """
    nodes = [
        helper.make_node("Transpose", ["tile"], ["turned"], perm=[0, 2, 1, 3, 4], name="turn"),
        helper.make_node("Slice", ["turned", "zero", "two", "slices"], ["below"], name="slice_0"),
        helper.make_node("Slice", ["turned", "three", "five", "slices"], ["above"], name="slice_1"),
        helper.make_node("Concat", ["below", "above"], ["stacked"], axis=2, name="stack"),
        helper.make_node("Reshape", ["stacked", "planes"], ["flat"], name="flatten"),
        helper.make_node("Resize", ["flat", "", "twice"], ["large"], mode=mode, name="enlarge"),
        helper.make_node("QuantizeLinear", ["large", "scale", "middle"], ["bytes"], name="round"),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "middle"], ["answer"], name="restore"),
    ]
    outputs = ["answer", *(["large"] if kept else [])]
    graph = helper.make_graph(
        nodes,
        "stacking",
        [helper.make_tensor_value_info("tile", TensorProto.FLOAT, INPUT.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 2 * CHANNELS, 8, 12)) for name in outputs],
        [
            *(whole(name, [value]) for name, value in (("zero", 0), ("two", 2), ("three", 3), ("five", 5))),
            whole("slices", [1]),
            whole("planes", [2, 2 * CHANNELS, 4, 6]),
            numpy_helper.from_array(np.array([1, 1, 2, 2], dtype=np.float32), "twice"),
            numpy_helper.from_array(np.float32(0.02), "scale"),
            numpy_helper.from_array(np.uint8(120), "middle"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answer(model: onnx.ModelProto) -> np.ndarray:
    """Return what a graph gives back."""
    onnx.checker.check_model(model, full_check=True)
    # As the graph says, without the runtime's own reordering.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (values,) = session.run(["answer"], {"tile": INPUT})
    return np.asarray(values)


def rounded_values(model: onnx.ModelProto) -> list[str]:
    """Return what is rounded."""
    return [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def test_the_input_is_rounded_once_and_bytes_are_moved() -> None:
    """Two slices of it, stacked and enlarged, ask for one rounding, and every bit stays."""
    early = make_graph()
    round_early(early)
    assert rounded_values(early) == ["tile"]
    np.testing.assert_array_equal(answer(early), answer(make_graph()))


@pytest.mark.parametrize(("mode", "kept"), [("linear", False), ("nearest", True)])
def test_what_is_needed_unrounded_stays(mode: str, *, kept: bool) -> None:
    """Between neighbours there are values that no byte has, and an output is what it was."""
    graph = make_graph(mode=mode, kept=kept)
    round_early(graph)
    assert rounded_values(graph) == ["large"]
    np.testing.assert_array_equal(answer(graph), answer(make_graph(mode=mode, kept=kept)))


def test_parts_that_are_rounded_otherwise_keep_their_own() -> None:
    """The same value with two scales is rounded twice."""
    graph = make_graph()
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(0.05), "coarse"))
    graph.graph.node.append(helper.make_node("QuantizeLinear", ["flat", "coarse", "middle"], ["other"], name="coarse"))
    graph.graph.node.append(helper.make_node("DequantizeLinear", ["other", "coarse", "middle"], ["rough"]))
    graph.graph.output.append(helper.make_tensor_value_info("rough", TensorProto.FLOAT, (2, 2 * CHANNELS, 4, 6)))
    expected = answer(graph)
    round_early(graph)
    assert sorted(rounded_values(graph)) == ["flat", "flat"]
    np.testing.assert_array_equal(answer(graph), expected)


def test_values_with_scales_of_their_own_stay() -> None:
    """Elsewhere a value would meet another's scale."""
    graph = make_graph()
    scale, middle = graph.graph.initializer[-2:]
    scale.CopyFrom(numpy_helper.from_array(np.linspace(0.02, 0.05, 2 * CHANNELS, dtype=np.float32), scale.name))
    middle.CopyFrom(numpy_helper.from_array(np.full(2 * CHANNELS, 120, dtype=np.uint8), middle.name))
    expected = answer(graph)
    round_early(graph)
    assert rounded_values(graph) == ["large"]
    np.testing.assert_array_equal(answer(graph), expected)
