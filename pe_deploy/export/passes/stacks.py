"""Which recurrent nodes a Scan can stand for, and which of them one Scan can hold."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.gru_layer import GRULayer
from pe_deploy.export.passes.layer import Layer, Numbers, numbers_of
from pe_deploy.export.passes.lstm_layer import LSTMLayer
from pe_deploy.export.passes.rnn_layer import RNNLayer

Stack = list[list[Layer]]
"""The layers of one Scan, from below, for each direction.

What reads backwards is at the last step when what reads forwards is at the first: a node of two
directions is a stack of its own, since none can read both its outputs while they are made.
"""


_KINDS: dict[str, tuple[Callable[[ir.Node, bool, Numbers], Layer], int]] = {
    "GRU": (GRULayer.of, 3),
    "LSTM": (LSTMLayer.of, 4),
    "RNN": (RNNLayer.of, 1),
}
"""How to read each kind, and how many gates it has."""

_ACTIVATIONS = {"GRU": set[str](), "LSTM": set[str](), "RNN": {"Tanh", "Relu"}}
"""What a node may name; torch's own GRU and LSTM are those that name none."""


def layers_of(node: ir.Node) -> list[Layer]:
    """The directions of a recurrent node; none if it is not torch's formula of known weights."""
    both = node.attributes.get_string("direction", "forward") == "bidirectional"
    if not g.is_recurrent(node, both_ways=both) or not _is_torchs(node):
        return []
    kind, gates = _KINDS[node.op_type]
    return [kind(node, way == 1, found) for way, found in enumerate(numbers_of(node, gates) or ())]


def _is_torchs(node: ir.Node) -> bool:
    """Whether a node's formula is the one that torch has under its name."""
    named = node.attributes.get_strings("activations", [])
    if "clip" in node.attributes or not set(named) <= _ACTIVATIONS[node.op_type]:
        return False
    if node.op_type == "GRU":
        return node.attributes.get_int("linear_before_reset", 0) == 1
    # Torch has no peepholes, and no gates that are one.
    return g.given(node, 7) is None and node.attributes.get_int("input_forget", 0) == 0


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
