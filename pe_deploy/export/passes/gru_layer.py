"""A GRU as a step of a Scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes.layer import Floats, Layer, Numbers, sigmoid
from pe_deploy.export.passes.scan_body import Body


@dataclass(frozen=True)
class GRULayer(Layer):
    """One direction of a GRU, its gates in the order reset, keep, new.

        reset, keep = Sigmoid(part + state · R)      new = Tanh(part + reset * (state · R + b))
        state       → state + keep * active * (new - state)

    *Keep* is `1 - z` with ONNX's update gate z. Since `1 - sigmoid(a) = sigmoid(-a)`, it is the
    update gate with its weights negated: where keep is multiplied by 0, a state stays exactly as
    it is. The recurrent bias of reset and keep is in `bias`.

    Attributes:
        new_bias: `[hidden]`, the recurrent bias that the reset gate scales.
    """

    GATES = ("reset", "keep", "new")
    STATES = 1

    new_bias: Floats

    @classmethod
    def of(cls, node: ir.Node, backwards: bool, numbers: Numbers) -> GRULayer:
        """From ONNX's order of the gates: update, reset, new."""
        inputs, recurrent = (
            np.stack([w[1], -w[0], w[2]]) for w in (numbers.inputs, numbers.recurrent)
        )
        of_inputs, of_state = numbers.biases
        summed = of_inputs + of_state
        bias = np.stack([summed[1], -summed[0], of_inputs[2]])
        return cls(node, backwards, inputs, recurrent, bias, of_state[2])

    def step(self, rows: Floats, states: list[Floats]) -> list[Floats]:
        """As `Layer.step`."""
        (state,) = states
        parts = [self.projected(rows, gate) + self.bias[gate] for gate in range(3)]
        reset = sigmoid(parts[0] + state @ self.recurrent[0].T)
        keep = sigmoid(parts[1] + state @ self.recurrent[1].T)
        new = np.tanh(parts[2] + reset * (state @ self.recurrent[2].T + self.new_bias))
        return [state + keep * (new - state)]

    def add_step(
        self,
        body: Body,
        label: str,
        states: list[ir.Value],
        parts: list[ir.Value],
        active: ir.Value | None,
    ) -> list[ir.Value]:
        """As `Layer.add_step`."""
        (state,) = states
        weights = [
            body.weight(self.recurrent[gate].T, f"R{label}_{name}")
            for gate, name in enumerate(self.GATES)
        ]
        reset = body.op("Sigmoid", body.op("Gemm", state, weights[0], parts[0]))
        keep = body.op("Sigmoid", body.op("Gemm", state, weights[1], parts[1]))
        bias = body.weight(self.new_bias, f"R{label}_bias")
        recurrent = body.op("Mul", reset, body.op("Gemm", state, weights[2], bias))
        new = body.op("Tanh", body.op("Add", parts[2], recurrent))
        if active is not None:
            keep = body.op("Mul", keep, active)
        change = body.op("Mul", keep, body.op("Sub", new, state))
        return [body.op("Add", state, change)]
