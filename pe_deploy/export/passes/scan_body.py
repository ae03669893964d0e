"""The body of a Scan: one step of every layer in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from pe_deploy.export.passes.graph import Array, initializer


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
        """Numbers, rounded to float32; under a name that is there already, they are the same."""
        name = f"{self._name}_{name}"
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        return initializer(self.graph, array.astype(np.float32), name)

    def op(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        recorded = tape.Tape()
        value = recorded.op(op_type, inputs, attributes)
        value.name = f"{self._name}_{op_type.lower()}_{self._count}"
        self._count += 1
        self.graph.extend(recorded.nodes)
        return value
