"""An LSTM as a step of a Scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes.layer import Floats, Layer, Numbers, sigmoid, standing
from pe_deploy.export.passes.scan_body import Body


@dataclass(frozen=True)
class LSTMLayer(Layer):
    """One direction of an LSTM, its gates in ONNX's order; both biases are in `bias`.

    in, out, forget = Sigmoid(part + state · R)      new = Tanh(part + state · R)
    cell            → forget * cell + in * new       state → out * Tanh(cell)
    """

    GATES = ("in", "out", "forget", "new")
    STATES = 2

    @classmethod
    def of(cls, node: ir.Node, backwards: bool, numbers: Numbers) -> LSTMLayer:
        """From the numbers of a node."""
        bias = numbers.biases.sum(axis=0)
        return cls(node, backwards, numbers.inputs, numbers.recurrent, bias)

    def step(self, rows: Floats, states: list[Floats]) -> list[Floats]:
        """As `Layer.step`."""
        state, cell = states
        parts = [
            self.projected(rows, gate) + self.bias[gate] + state @ self.recurrent[gate].T
            for gate in range(4)
        ]
        taken, given, kept = map(sigmoid, parts[:3])
        cell = kept * cell + taken * np.tanh(parts[3])
        return [given * np.tanh(cell), cell]

    def add_step(
        self,
        body: Body,
        label: str,
        states: list[ir.Value],
        parts: list[ir.Value],
        active: ir.Value | None,
    ) -> list[ir.Value]:
        """As `Layer.add_step`."""
        state, cell = states
        taken, given, kept, new = (
            body.op(
                "Tanh" if name == "new" else "Sigmoid",
                body.op("Gemm", state, body.weight(weights.T, f"R{label}_{name}"), part),
            )
            for name, weights, part in zip(self.GATES, self.recurrent, parts, strict=True)
        )
        moved = body.op("Add", body.op("Mul", kept, cell), body.op("Mul", taken, new))
        after = [body.op("Mul", given, body.op("Tanh", moved)), moved]
        return standing(body, after, states, active)
