"""The body of a Scan: one step of every layer of a stack of GRUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from pe_deploy.export.passes.graph import Array, initializer
from pe_deploy.export.passes.gru_layers import Layer

GATES = ("reset", "keep", "new")


class Body:
    """The graph of one step, with weights of its own.

    onnxruntime hands every value of the outer graph that a step reads to each step anew.
    """

    def __init__(self, name: str) -> None:
        self.graph = ir.Graph([], [], nodes=[], name=name)
        self._name = name
        self._count = 0

    def takes(self, name: str, dtype: ir.DataType, shape: list[int | str | None]) -> ir.Value:
        """An input: a state, or one step of what is scanned."""
        value = ir.Value(
            name=f"{self._name}_{name}", type=ir.TensorType(dtype), shape=ir.Shape(shape)
        )
        self.graph.inputs.append(value)
        return value

    def gives(self, value: ir.Value, hidden: int) -> None:
        """An output: a state of `hidden` numbers a row, or one step of the outputs."""
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", hidden])
        self.graph.outputs.append(value)

    def weight(self, array: Array, name: str) -> ir.Value:
        """Numbers, rounded to float32."""
        return initializer(self.graph, array.astype(np.float32), f"{self._name}_{name}")

    def op(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        recorded = tape.Tape()
        value = recorded.op(op_type, inputs, attributes)
        value.name = f"{self._name}_{op_type.lower()}_{self._count}"
        self._count += 1
        self.graph.extend(recorded.nodes)
        return value


def add_step(
    body: Body,
    stack: list[Layer],
    states: list[ir.Value],
    parts: list[ir.Value],
    active: ir.Value | None,
) -> None:
    """One step of every layer, each of which reads the new state of the one below.

        reset, keep = Sigmoid(part + state · R)      new = Tanh(part + reset * (state · R + b))
        state       → state + keep * active * (new - state)

    Args:
        body: where to put it; it gives the new states.
        stack: the layers from below.
        states: the state that each starts from, `[batch, hidden]`.
        parts: what the first layer's inputs add to each of its gates, `[batch, hidden]`.
        active: 1 where a row has not ended, else 0, `[batch, 1]`; None where none ends early.
    """
    for index, (layer, state) in enumerate(zip(stack, states, strict=True)):
        if index:
            parts = projections(body, layer, index, body.graph.outputs[-1])
        weights = [
            body.weight(layer.recurrent[gate].T, f"R{index}_{label}")
            for gate, label in enumerate(GATES)
        ]
        reset = body.op("Sigmoid", body.op("Gemm", state, weights[0], parts[0]))
        keep = body.op("Sigmoid", body.op("Gemm", state, weights[1], parts[1]))
        bias = body.weight(layer.new_bias, f"R{index}_bias")
        recurrent = body.op("Mul", reset, body.op("Gemm", state, weights[2], bias))
        new = body.op("Tanh", body.op("Add", parts[2], recurrent))
        if active is not None and index == len(stack) - 1:
            # Behind its end a row's last state stays as it is; what is below no longer matters.
            keep = body.op("Mul", keep, active)
        change = body.op("Mul", keep, body.op("Sub", new, state))
        body.gives(body.op("Add", state, change), layer.hidden)


def projections(body: Body, layer: Layer, index: int, inputs: ir.Value) -> list[ir.Value]:
    """What inputs `[batch, inputs]` add to each gate of a layer, its bias among it."""
    return [
        body.op(
            "Gemm",
            inputs,
            body.weight(layer.inputs[gate].T, f"W{index}_{label}"),
            body.weight(layer.bias[gate], f"W{index}_{label}_bias"),
        )
        for gate, label in enumerate(GATES)
    ]
