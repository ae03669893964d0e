"""What feeds a Scan: the steps that it runs over, and the states that it starts from.

Each way gives the values that are scanned, and what one step of them adds to each gate of the
first layer, `[batch, hidden]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes.graph import Nodes, given
from pe_deploy.export.passes.layer import Floats, Layer
from pe_deploy.export.passes.precompute import Tokens, prefix_states
from pe_deploy.export.passes.scan_body import Body

Fed = tuple[list[ir.Value | None], list[ir.Value]]

Tables = tuple[ir.Value, ir.Value | None]
"""Of tokens, `[vocabulary, hidden]`; of positions, `[longest, 1, hidden]`, if they play a part."""


@dataclass(frozen=True)
class Feed:
    """Where the nodes that feed a Scan go, and the steps that it runs over.

    Attributes:
        nodes: of the outer graph.
        body: of the Scan.
        name: what the names of constants begin with.
        length: of the sequence, `[1]`.
        first: the first step, `[1]`; None for that at 0.
        way: what the names of one direction end with.
        folded: whether tables of projected tokens are made here; else by the runtime, at load.
    """

    nodes: Nodes
    body: Body
    name: str
    length: ir.Value
    first: ir.Value | None = None
    way: str = ""
    folded: bool = True

    def of(self, layer: Layer, tokens: Tokens | None, projected: bool) -> Fed:
        """The way that fits the first layer of a stack, and what it reads."""
        if tokens is None:
            return self.inputs(layer)
        return self.tables(layer, tokens) if projected else self.lookups(layer, tokens)

    def inputs(self, layer: Layer) -> Fed:
        """The inputs of the node are scanned as they are, and projected in each step."""
        step = self.step("inputs", ir.DataType.FLOAT, ["batch", layer.inputs.shape[2]])
        return [layer.node.inputs[0]], layer.projections(self.body, f"0{self.way}", step)

    def lookups(self, layer: Layer, tokens: Tokens) -> Fed:
        """The ids are scanned, looked up and projected in each step, while they are at hand.

        Looked up for all steps at once, they would be written to memory and read again.
        """
        body = self.body
        step = self.step("ids", ir.DataType.INT64, ["batch"])
        inputs = body.op("Gather", body.weight(tokens.tokens, "tokens"), step, axis=0)
        scanned: list[ir.Value | None] = [tokens.ids]
        if tokens.positions is not None:
            scanned.append(self._by_step(tokens.positions, "positions"))
            place = self.step("position", ir.DataType.FLOAT, [1, tokens.positions.shape[1]])
            inputs = body.op("Add", inputs, place)
        return scanned, layer.projections(body, f"0{self.way}", inputs)

    def tables(self, layer: Layer, tokens: Tokens) -> Fed:
        """The ids are scanned, and each step looks their projections up: `E·Wᵀ + (P·Wᵀ + b)`.

        Joined to a table a step, `[vocabulary, hidden]`, it is one lookup a gate for token and
        position, and an id outside the vocabulary is still refused.
        """
        nodes, body = self.nodes, self.body
        step = self.step("ids", ir.DataType.INT64, ["batch"])
        scanned: list[ir.Value | None] = [
            tokens.ids if self.first is None else self._sliced(tokens.ids)
        ]
        parts = []
        made = self._folded if self.folded else self._projected
        for gate, name in enumerate(layer.GATES):
            label = f"{name}{self.way}"
            by_token, by_place = made(layer, tokens, gate, label)
            if by_place is None:
                rows = by_token
            else:
                scanned.append(nodes.op("Add", by_token, self._sliced(by_place)))
                shape: list[int | str | None] = [tokens.vocabulary, layer.hidden]
                rows = self.step(f"table_{name}", ir.DataType.FLOAT, shape)
            parts.append(body.op("Gather", rows, step, axis=0))
        return scanned, parts

    def _folded(self, layer: Layer, tokens: Tokens, gate: int, label: str) -> Tables:
        """What each token and each position add to a gate, the bias in it, as numbers."""
        table = layer.projected(tokens.tokens, gate)
        if tokens.positions is None:
            return self.body.weight(table + layer.bias[gate], f"tokens_{label}"), None
        places = layer.projected(tokens.positions, gate) + layer.bias[gate]
        return self._constant(table, f"tokens_{label}"), self._table(places, f"positions_{label}")

    def _projected(self, layer: Layer, tokens: Tokens, gate: int, label: str) -> Tables:
        """The same as nodes that read weights alone, so that a runtime does it once, at load."""
        weight, bias = layer.inputs[gate].T, layer.bias[gate]
        if tokens.positions is None:
            body = self.body
            table = body.weight(tokens.tokens, "tokens")
            weights = body.weight(weight, f"W_{label}"), body.weight(bias, f"W_{label}_bias")
            return body.op("Gemm", table, *weights), None
        nodes = self.nodes
        weights = self._constant(weight, f"W_{label}"), self._constant(bias, f"W_{label}_bias")
        table, places = (
            nodes.shared(rows.astype(np.float32), f"{self.name}_{name}")
            for rows, name in ((tokens.tokens, "tokens"), (tokens.positions, "positions"))
        )
        by_token = nodes.op("MatMul", table, weights[0])
        by_place = nodes.op("Gemm", places, *weights)
        return by_token, nodes.op("Unsqueeze", by_place, nodes.constant([1], "one"))

    def active(self, lengths: ir.Value) -> ir.Value:
        """1 where a step is before a row's end, else 0: float `[sequence, batch, 1]`."""
        nodes = self.nodes
        zero = nodes.constant(np.array(0), "scalar_zero")
        start = zero if self.first is None else nodes.op("Squeeze", self.first)
        one = nodes.constant(np.array(1), "scalar_one")
        steps = nodes.op("Range", start, nodes.op("Squeeze", self.length), one)
        steps = nodes.op("Cast", steps, to=ir.DataType.INT32)
        before = nodes.op("Less", nodes.op("Unsqueeze", steps, nodes.constant([1], "one")), lengths)
        numbers = nodes.op("Cast", before, to=ir.DataType.FLOAT)
        return nodes.op("Unsqueeze", numbers, nodes.constant([2], "two"))

    def step(self, name: str, dtype: ir.DataType, shape: list[int | str | None]) -> ir.Value:
        """One step of what is scanned, in the body."""
        return self.body.takes(f"{name}{self.way}", dtype, shape)

    def _by_step(self, rows: Floats, name: str) -> ir.Value:
        """A table's rows for the steps that the Scan runs over, `[steps, 1, …]`."""
        return self._sliced(self._table(rows, name))

    def _table(self, rows: Floats, name: str) -> ir.Value:
        return self._constant(rows[:, None], name)

    def _constant(self, numbers: Floats, name: str) -> ir.Value:
        return self.nodes.constant(numbers.astype(np.float32), f"{self.name}_{name}")

    def _sliced(self, value: ir.Value) -> ir.Value:
        """The steps of a value that the Scan runs over."""
        zero, one = self.nodes.constant([0], "zero"), self.nodes.constant([1], "one")
        first = zero if self.first is None else self.first
        return self.nodes.op("Slice", value, first, self.length, zero, one)


def starts_of(nodes: Nodes, layer: Layer, batch: ir.Value) -> list[ir.Value]:
    """The states that a layer starts from, `[batch, hidden]`: those that it is given, or zeros."""
    return [_start(nodes, layer, given(layer.node, 5 + one), batch) for one in range(layer.STATES)]


def _start(nodes: Nodes, layer: Layer, start: ir.Value | None, batch: ir.Value) -> ir.Value:
    if start is None:
        shape = nodes.op("Concat", batch, nodes.constant([layer.hidden], "hidden"), axis=0)
        return nodes.op("ConstantOfShape", shape, value=ir.tensor(np.zeros(1, np.float32)))
    if layer.node.attributes.get_string("direction", "forward") == "forward":
        return nodes.op("Squeeze", start, nodes.constant([0], "zero"))
    way = nodes.constant(np.array(int(layer.backwards)), "way")
    return nodes.op("Gather", start, way, axis=0)


def states_looked_up(
    nodes: Nodes,
    layers: list[Layer],
    tokens: Tokens,
    depth: int,
    first: ir.Value,
    lengths: ir.Value | None,
    name: str,
) -> list[ir.Value]:
    """Each layer's states after the first steps, `[batch, hidden]`, from tables of all beginnings.

    Each id is looked up on its own first, so that none outside the vocabulary gets through.
    """
    base = tokens.vocabulary + 1
    zero, one = nodes.constant([0], "zero"), nodes.constant([1], "one")
    ids = nodes.op("Slice", tokens.ids, zero, first, zero, one)
    digits = nodes.constant(np.arange(1, base), f"{name}_digits")
    places = nodes.constant((base ** np.arange(depth)[::-1])[:, None], f"{name}_places")
    number = nodes.op(
        "Mul",
        nodes.op("Gather", digits, ids, axis=0),
        nodes.op("Slice", places, zero, first, zero, one),
    )
    if lengths is not None:
        steps = nodes.constant(np.arange(depth, dtype=np.int32)[:, None], f"{name}_steps")
        active = nodes.op("Less", nodes.op("Slice", steps, zero, first, zero, one), lengths)
        number = nodes.op("Where", active, number, nodes.constant(np.array(0), "ended"))
    row = nodes.op("ReduceSum", number, zero, keepdims=0)
    tables = [
        nodes.constant(state.astype(np.float32), f"{name}_states{index}")
        for index, state in enumerate(prefix_states(layers, tokens, depth))
    ]
    return [nodes.op("Gather", table, row, axis=0) for table in tables]
