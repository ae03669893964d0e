"""What the passes share: reading a graph, asking about its values, adding nodes to it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir import tape
from onnx_ir.passes import common

Array = NDArray[Any]

RECURRENT = ("GRU", "LSTM", "RNN")
"""The operators that read step by step; their outputs and first six inputs are alike."""


def read(model: onnx.ModelProto) -> ir.Model:
    """A copy with shapes inferred and with uses and producers at hand."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def written(model: ir.Model) -> onnx.ModelProto:
    """The graph in order, without what nothing uses and without the shapes that were inferred."""
    common.NameFixPass()(model)
    # After the names: an output that nothing reads has none, so that it need not be computed.
    remove_unused(model)
    counts: Counter[str] = Counter()
    for node in model.graph:
        node.name = f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += 1
    proto = ir.to_proto(model)
    for graph in graphs_in(proto.graph):
        graph.ClearField("value_info")
    return proto


def remove_unused(model: ir.Model) -> None:
    """Take away the nodes, the outputs and the initializers that nothing reads any more."""
    # It walks through the nodes from the last to the first.
    model.graph.sort()
    common.RemoveUnusedNodesPass()(model)


class Nodes:
    """New nodes, put into a graph in front of one that is there."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph = graph
        self._before = before

    def constant(self, values: Array | list[int], name: str) -> ir.Value:
        """An initializer; one that is there already, by value, is taken where it is an integer."""
        array = np.asarray(values)
        if array.dtype.kind == "i":
            for value in self._graph.initializers.values():
                found = constant(value)
                if found is None or found.dtype != array.dtype or found.shape != array.shape:
                    continue
                if (found == array).all():
                    return value
        return initializer(self._graph, array, name)

    def shared(self, array: Array, name: str) -> ir.Value:
        """An initializer; under a name that is there already, it is the same."""
        found = self._graph.initializers.get(name)
        return initializer(self._graph, array, name) if found is None else found

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(
        self, op_type: str, *inputs: ir.Value | None, outputs: int, **attributes: Any
    ) -> list[ir.Value]:
        """The outputs of a new node."""
        recorded = tape.Tape()
        values = recorded.op_multi_out(op_type, inputs, attributes, num_outputs=outputs)
        self._graph.insert_before(self._before, recorded.nodes)
        return list(values)


def initializer(graph: ir.Graph, array: Array, name: str) -> ir.Value:
    """Store an array in a graph, under this name or, where it is taken, one like it."""
    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    recorded = tape.Tape(graph)
    return recorded.initializer(ir.tensor(np.asarray(array, order="C"), name=unique), unique)


def constant(value: ir.Value | None) -> Array | None:
    """The numbers of a value that is known before the graph runs."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def integers(value: ir.Value | None) -> list[int] | None:
    """The integers of a value that is known before the graph runs, flat."""
    array = constant(value)
    if array is None or array.dtype.kind != "i":
        return None
    return [int(number) for number in array.flatten()]


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that gives a value, if it is one of these standard operators."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in op_types or node.domain not in ("", "ai.onnx"):
        return None
    return node


def used_once(value: ir.Value) -> bool:
    """Whether one node alone reads a value."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def is_used(node: ir.Node, output: int) -> bool:
    """Whether anything reads this output of a node."""
    if output >= len(node.outputs):
        return False
    value = node.outputs[output]
    return bool(value.uses()) or value.is_graph_output()


def rank(value: ir.Value) -> int | None:
    """How many axes a value has, where that is known."""
    return None if value.shape is None else value.shape.rank()


def axes(node: ir.Node) -> list[int] | None:
    """The axes that Squeeze, Unsqueeze or a Reduce names in its second input."""
    return integers(node.inputs[1]) if len(node.inputs) > 1 else None


def perm(node: ir.Node) -> list[int]:
    """The order into which Transpose puts axes; empty where it just turns them round."""
    return list(node.attributes.get_ints("perm", []))


def is_size_of(value: ir.Value | None, ids: ir.Value | None, axis: int) -> bool:
    """Whether a value is the size of one axis of the ids, as a scalar or as one element."""
    if squeezed := made_by(value, "Squeeze", "Unsqueeze", "Reshape"):
        return is_size_of(squeezed.inputs[0], ids, axis)
    shape = made_by(value, "Shape")
    return (
        shape is not None
        and shape.inputs[0] is ids
        and shape.attributes.get_int("start", 0) == axis
        and shape.attributes.get_int("end", 2) == axis + 1
    )


def is_range_of(value: ir.Value | None, ids: ir.Value, axis: int) -> bool:
    """Whether a value counts 0, 1, 2, … along one axis of the ids."""
    node = made_by(value, "Range")
    return (
        node is not None
        and integers(node.inputs[0]) == [0]
        and integers(node.inputs[2]) == [1]
        and is_size_of(node.inputs[1], ids, axis)
    )


def is_recurrent(node: ir.Node, both_ways: bool = False) -> bool:
    """Whether a node is recurrent over time steps first, from left to right (or both ways)."""
    return (
        node.op_type in RECURRENT
        and node.domain in ("", "ai.onnx")
        and node.attributes.get_string("direction", "forward")
        == ("bidirectional" if both_ways else "forward")
        and node.attributes.get_int("layout", 0) == 0
    )


def recurrent_giving(value: ir.Value | None) -> ir.Node | None:
    """The node whose outputs of all steps a value is, without their axis of one direction."""
    squeezed = made_by(value, "Squeeze")
    if squeezed is None or axes(squeezed) != [1]:
        return None
    node = made_by(squeezed.inputs[0], *RECURRENT)
    return None if node is None or node.outputs[0] is not squeezed.inputs[0] else node


def given(node: ir.Node, index: int) -> ir.Value | None:
    """An input of a node; None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def exchange(old: ir.Value, new: ir.Value) -> None:
    """Let everything that reads `old` read `new`; a graph's output keeps its name."""
    if old.is_graph_output():
        new.name, old.name = old.name, None
        new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def graphs_in(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """A graph and all graphs inside its nodes."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(found for each in inner for found in graphs_in(each))]
