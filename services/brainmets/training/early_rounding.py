"""Owns early rounding: in an int8 graph values are rounded before they are copied to another place, not after.

Rounding is the same for every value, wherever it lies, so that both orders give the same bytes; but a byte is copied
four times as fast as a float32, and before a slice is stacked with its neighbours, or enlarged, there are fewer.
"""

import math
from collections import Counter

import onnx

ROUND = "QuantizeLinear"
# What gives values another place and changes none: of all inputs, or of the first.
JOINS = {"Concat"}
MOVES = {"Transpose", "Slice", "Reshape", "Unsqueeze"}
ENLARGES = "Resize"


def round_early(model: onnx.ModelProto) -> None:
    """Move every rounding ahead of what only moves values, in place.

    Args:
        model: Convolutions between `QuantizeLinear` and `DequantizeLinear`, as ONNX Runtime's `quantize_static` writes
            them; the order of its nodes stays one in which they can be computed.
    """
    nodes = list(model.graph.node)
    while (found := _find(nodes, model.graph)) is not None:
        mover, rounding = found
        at = nodes.index(mover)
        nodes.remove(rounding)
        inputs = range(len(mover.input)) if mover.op_type in JOINS else range(1)
        nodes[at:at] = [_round_input(mover, place, like=rounding) for place in inputs]
        mover.output[0] = rounding.output[0]
        nodes = _share(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # Their types have changed, and whoever reads the graph finds them again.
    del model.graph.value_info[:]


def _find(nodes: list[onnx.NodeProto], graph: onnx.GraphProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Return a node that only moves values and the rounding that alone takes them, None when there is no more."""
    makers = {name: node for node in nodes for name in node.output}
    # Rounded each by its own scale, values must stay where they are.
    alike = {weight.name for weight in graph.initializer if math.prod(weight.dims) == 1}
    uses = Counter(name for node in nodes for name in node.input) + Counter(each.name for each in graph.output)
    for node in nodes:
        maker = makers.get(node.input[0]) if node.op_type == ROUND and node.input[1] in alike else None
        if maker is not None and uses[node.input[0]] == 1 and _only_moves(maker):
            return maker, node
    return None


def _only_moves(node: onnx.NodeProto) -> bool:
    if node.op_type == ENLARGES:
        mode = next((each.s for each in node.attribute if each.name == "mode"), b"nearest")
        return bool(mode == b"nearest")
    return node.op_type in MOVES | JOINS


def _round_input(mover: onnx.NodeProto, place: int, *, like: onnx.NodeProto) -> onnx.NodeProto:
    """Return a rounding of one input of a node, which takes its bytes from now on."""
    rounding = onnx.NodeProto()
    rounding.CopyFrom(like)
    rounding.name = f"{mover.name}_input_{place}_{ROUND}"
    rounding.input[0] = mover.input[place]
    rounding.output[0] = mover.input[place] = f"{rounding.name}_Output"
    return rounding


def _share(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes with one rounding where several do the same to one value, at the place of the first."""
    shared: dict[tuple[str, ...], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        if node.op_type == ROUND:
            first = shared.setdefault(tuple(node.input), node.output[0])
            if first != node.output[0]:
                renamed[node.output[0]] = first
                continue
        kept.append(node)
    return kept
