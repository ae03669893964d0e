"""GRU nodes read as arithmetic: their weights by gate, and stacks of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from pe_deploy.export.passes import graph as g

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One GRU node, its weights by gate in the order reset, keep, new, in float64.

    *Keep* is `1 - z` with ONNX's update gate z. Since `1 - sigmoid(a) = sigmoid(-a)`, it is the
    update gate with its weights negated, and the step becomes `h + keep * (new - h)`: where keep
    is multiplied by 0, a state stays exactly as it is.

    Attributes:
        node: the GRU node.
        inputs: `[3, hidden, inputs]`.
        recurrent: `[3, hidden, hidden]`.
        bias: `[3, hidden]`, the recurrent bias of reset and keep in it.
        new_bias: `[hidden]`, the recurrent bias that the reset gate scales.
    """

    node: ir.Node
    inputs: Floats
    recurrent: Floats
    bias: Floats
    new_bias: Floats

    @property
    def hidden(self) -> int:
        """How many numbers a state holds."""
        return len(self.new_bias)

    def projected(self, rows: Floats, gate: int) -> Floats:
        """What rows of inputs add to one gate: `[rows, hidden]`, without the bias."""
        projected: Floats = rows @ self.inputs[gate].T
        return projected

    def step(self, rows: Floats, state: Floats) -> Floats:
        """The states after one step, from inputs and states of as many rows."""
        parts = [self.projected(rows, gate) + self.bias[gate] for gate in range(3)]
        reset = _sigmoid(parts[0] + state @ self.recurrent[0].T)
        keep = _sigmoid(parts[1] + state @ self.recurrent[1].T)
        new = np.tanh(parts[2] + reset * (state @ self.recurrent[2].T + self.new_bias))
        stepped: Floats = state + keep * (new - state)
        return stepped


def layer_of(node: ir.Node) -> Layer | None:
    """A GRU node read; None if it is not torch's formula with weights that are known."""
    if not g.is_gru(node) or node.attributes.get_int("linear_before_reset", 0) != 1:
        return None
    if any(name in node.attributes for name in ("activations", "clip")):
        return None
    weights = [g.constant(g.given(node, index)) for index in (1, 2)]
    bias = g.given(node, 3)
    if weights[0] is None or weights[1] is None or (bias is not None and g.constant(bias) is None):
        return None
    hidden = weights[1].shape[-1]
    both = np.zeros((2, 3, hidden)) if bias is None else g.constant(bias)
    update_first = [np.asarray(w, np.float64).reshape(3, hidden, -1) for w in weights]
    inputs, recurrent = (np.stack([w[1], -w[0], w[2]]) for w in update_first)
    biases = np.asarray(both, np.float64).reshape(2, 3, hidden)
    summed = biases.sum(axis=0)
    gates = np.stack([summed[1], -summed[0], biases[0, 2]])
    return Layer(node, inputs, recurrent, gates, biases[1, 2])


def stacks_of(graph: ir.Graph) -> list[list[Layer]]:
    """Every run of GRU nodes, each of which reads nothing but the outputs of the one before.

    Only the last of a stack may have outputs that others read, or stop at `sequence_lens`.
    """
    layers = {node: layer for node in graph if (layer := layer_of(node)) is not None}
    above = {below: node for node in layers if (below := _below(node)) in layers}
    firsts = [node for node in layers if node not in above.values()]
    stacks = []
    for first in firsts:
        stack = [first]
        while stack[-1] in above:
            stack.append(above[stack[-1]])
        # Behind a row's end, outputs would have to be zeros: only a final state is taken.
        if g.given(stack[-1], 4) is None or not g.is_used(stack[-1], 0):
            stacks.append([layers[node] for node in stack])
    return stacks


def _below(node: ir.Node) -> ir.Node | None:
    """The GRU all of whose outputs this one reads, and it alone."""
    below, inputs = g.gru_giving(node.inputs[0]), node.inputs[0]
    if below is None or inputs is None or g.given(below, 4) is not None:
        return None
    return below if g.used_once(inputs) and g.used_once(below.outputs[0]) else None


def _sigmoid(values: Floats) -> Floats:
    # 1 / (1 + exp(-x)) without its overflow.
    sigmoid: Floats = (1 + np.tanh(values / 2)) / 2
    return sigmoid
