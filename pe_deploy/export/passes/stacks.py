"""Which recurrent nodes a Scan can stand for, and which of them one Scan can hold."""

from __future__ import annotations

import onnx_ir as ir

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.gru_layer import GRULayer
from pe_deploy.export.passes.layer import Layer, numbers_of
from pe_deploy.export.passes.lstm_layer import LSTMLayer

Stack = list[list[Layer]]
"""The layers of one Scan, from below, for each direction.

What reads backwards is at the last step when what reads forwards is at the first: a node of two
directions is a stack of its own, since none can read both its outputs while they are made.
"""


def layers_of(node: ir.Node) -> list[Layer]:
    """The directions of a recurrent node; none if it is not torch's formula of known weights."""
    both = node.attributes.get_string("direction", "forward") == "bidirectional"
    if not g.is_recurrent(node, both_ways=both) or node.op_type not in ("GRU", "LSTM"):
        return []
    if any(name in node.attributes for name in ("activations", "clip")):
        return []
    of_gru = node.op_type == "GRU"
    if of_gru and node.attributes.get_int("linear_before_reset", 0) != 1:
        return []
    # Peepholes are an input that torch has no counterpart of.
    if not of_gru and (
        g.given(node, 7) is not None or node.attributes.get_int("input_forget", 0) != 0
    ):
        return []
    numbers = numbers_of(node, 3 if of_gru else 4)
    kind = GRULayer if of_gru else LSTMLayer
    return [kind.of(node, way == 1, found) for way, found in enumerate(numbers or ())]


def stacks_of(graph: ir.Graph) -> list[Stack]:
    """Every run of recurrent nodes, each of which reads only the outputs of the one before.

    Only the last of a stack may have outputs that others read, or stop at `sequence_lens`.
    """
    layers = {node: found for node in graph if (found := layers_of(node))}
    above = {below: node for node in layers if (below := _below(node)) in layers}
    firsts = [node for node in layers if node not in above.values()]
    stacks: list[Stack] = []
    for first in firsts:
        stack = [first]
        while stack[-1] in above:
            stack.append(above[stack[-1]])
        ways = [list(way) for way in zip(*(layers[node] for node in stack), strict=True)]
        # Behind a row's end, outputs would have to be zeros: only a final state is taken. And a
        # row's end is where reading backwards begins.
        ends = g.given(stack[-1], 4) is not None
        if not ends or not (g.is_used(stack[-1], 0) or len(ways) > 1):
            stacks.append(ways)
    return stacks


def _below(node: ir.Node) -> ir.Node | None:
    """The node from left to right all of whose outputs this one reads, and it alone."""
    below, inputs = g.recurrent_giving(node.inputs[0]), node.inputs[0]
    if below is None or inputs is None or g.given(below, 4) is not None:
        return None
    if not g.is_recurrent(node) or not g.is_recurrent(below):
        return None
    return below if g.used_once(inputs) and g.used_once(below.outputs[0]) else None
