"""A plain RNN as a step of a Scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes.layer import Floats, Layer, Numbers, standing
from pe_deploy.export.passes.scan_body import Body


@dataclass(frozen=True)
class RNNLayer(Layer):
    """One direction of a plain RNN; both biases are in `bias`.

        state → activation(part + state · R)

    Attributes:
        activation: the operator, `Tanh` or `Relu`.
    """

    GATES = ("new",)
    STATES = 1

    activation: str

    @classmethod
    def of(cls, node: ir.Node, backwards: bool, numbers: Numbers) -> RNNLayer:
        """From the numbers of a node, whose activations are known."""
        named = node.attributes.get_strings("activations", ["Tanh", "Tanh"])
        bias = numbers.biases.sum(axis=0)
        activation = named[int(backwards)]
        return cls(node, backwards, numbers.inputs, numbers.recurrent, bias, activation)

    def step(self, rows: Floats, states: list[Floats]) -> list[Floats]:
        """As `Layer.step`."""
        new = self.projected(rows, 0) + self.bias[0] + states[0] @ self.recurrent[0].T
        return [np.tanh(new) if self.activation == "Tanh" else np.maximum(new, 0)]

    def add_step(
        self,
        body: Body,
        label: str,
        states: list[ir.Value],
        parts: list[ir.Value],
        active: ir.Value | None,
    ) -> list[ir.Value]:
        """As `Layer.add_step`."""
        weights = body.weight(self.recurrent[0].T, f"R{label}_new")
        new = body.op(self.activation, body.op("Gemm", states[0], weights, parts[0]))
        return standing(body, [new], states, active)
