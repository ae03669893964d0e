"""The throughput form: each stack of GRU nodes as one Scan over time, over all its layers.

onnxruntime's GRU kernel multiplies all gates at once and then walks through them number by number.
One matrix product a gate, and each activation as an operator of its own, use the vector units of
a processor better, from some tens of rows upward; below that, the nodes cost more than they save.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import tape

from pe_deploy.export.passes.graph import (
    Array,
    Nodes,
    axes,
    constant,
    exchange,
    given,
    initializer,
    is_used,
    read,
    remove_unused,
    written,
)
from pe_deploy.export.passes.gru_layers import Floats, Layer, stacks_of
from pe_deploy.export.passes.precompute import Tokens, prefix_depth, prefix_states, tokens_of
from pe_deploy.export.passes.sequence_lens import stop_at_lengths

GATES = ("reset", "keep", "new")


def gru_to_scan(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of a lean graph in which Scans stand for its GRU nodes; None if it holds none to.

    A GRU node stays as it is where it reads backwards, has weights that the graph computes, or
    another formula than torch's.
    """
    graph = (copy := read(model)).graph
    for node in list(graph):
        stop_at_lengths(graph, node)
    remove_unused(copy)
    stacks = stacks_of(graph)
    # A table of states may hold as many numbers as the model: it at most doubles its size.
    numbers = sum(_floats(value) for value in graph.initializers.values())
    for index, stack in enumerate(stacks):
        _replace(graph, stack, f"stack{index}", numbers)
    return written(copy) if stacks else None


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


def _replace(graph: ir.Graph, stack: list[Layer], name: str, numbers: int) -> None:
    """Put a Scan in the place of a stack; its tables of states hold up to so many `numbers`.

    A step hands each layer's new state to the layer above, as a GRU does with its outputs of all
    steps at once: the order of the work changes, and no sum in it.
    """
    top = stack[-1].node
    nodes, body = Nodes(graph, top), Body(f"{name}_step")
    tokens = tokens_of(stack[0].node.inputs[0])
    # Projected, the tokens are as many rows as there are ids: only where that is small.
    projected = tokens is not None and tokens.vocabulary <= sum(stack[0].inputs.shape[1:])
    # A step has a table of its own: where another reads it too, the file would hold it twice.
    if tokens is not None and not projected and not tokens.alone:
        tokens = None
    outputs_used = is_used(top, 0)
    starts = [given(layer.node, 5) for layer in stack]
    lengths = given(top, 4)
    # In a table of states, a row that has ended stands still in every layer, and below the top it
    # would have to go on to the last step.
    below_used = lengths is not None and any(is_used(layer.node, 1) for layer in stack[:-1])
    depth = 0
    if (
        tokens is not None
        and projected
        and not outputs_used
        and not below_used
        and not any(start is not None for start in starts)
    ):
        depth = prefix_depth(stack, tokens, numbers)
    axis_source = stack[0].node.inputs[0] if tokens is None else tokens.ids
    length = nodes.op("Shape", axis_source, start=0, end=1)
    batch = nodes.op("Shape", axis_source, start=1, end=2)

    first = None
    states: list[ir.Value] = []
    if tokens is not None and depth:
        first = _steps_looked_up(nodes, length, depth)
        states = _states_looked_up(nodes, stack, tokens, depth, first, lengths, name)
    else:
        states = [
            _start(nodes, layer, start, batch) for layer, start in zip(stack, starts, strict=True)
        ]
    held = [
        body.takes(f"state{index}", ir.DataType.FLOAT, ["batch", layer.hidden])
        for index, layer in enumerate(stack)
    ]
    span = (first, length)
    if tokens is None:
        scanned, parts = _from_inputs(body, stack[0])
    elif projected:
        scanned, parts = _from_tokens(nodes, body, stack[0], tokens, span, name)
    else:
        scanned, parts = _from_lookups(nodes, body, stack[0], tokens, span, name)
    active = None
    if lengths is not None:
        scanned.append(_active(nodes, lengths, span))
        active = body.takes("active", ir.DataType.FLOAT, ["batch", 1])
    _emit(body, stack, held, parts, active)
    if outputs_used:
        body.gives(body.op("Identity", body.graph.outputs[-1]), stack[-1].hidden)

    finals = nodes.ops(
        "Scan",
        *states,
        *scanned,
        outputs=len(body.graph.outputs),
        body=body.graph,
        num_scan_inputs=len(scanned),
    )
    for layer, final in zip(stack, finals, strict=False):
        _give_state(nodes, layer.node, final)
    if outputs_used:
        one = nodes.constant([1], "one")
        exchange(top.outputs[0], nodes.op("Unsqueeze", finals[-1], one))
    for layer in reversed(stack):
        _remove(graph, layer.node)


def _emit(
    body: Body,
    stack: list[Layer],
    held: list[ir.Value],
    parts: list[ir.Value],
    active: ir.Value | None,
) -> None:
    """One step of every layer; `parts` is what the first layer's inputs add to each gate."""
    for index, (layer, state) in enumerate(zip(stack, held, strict=True)):
        if index:
            parts = _projected(body, layer, index, body.graph.outputs[-1])
        weights = [
            body.weight(layer.recurrent[gate].T, f"R{index}_{GATES[gate]}") for gate in range(3)
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


def _projected(body: Body, layer: Layer, index: int, inputs: ir.Value) -> list[ir.Value]:
    """What inputs add to each gate of a layer, and its bias."""
    return [
        body.op(
            "Gemm",
            inputs,
            body.weight(layer.inputs[gate].T, f"W{index}_{GATES[gate]}"),
            body.weight(layer.bias[gate], f"W{index}_{GATES[gate]}_bias"),
        )
        for gate in range(3)
    ]


def _from_inputs(body: Body, layer: Layer) -> tuple[list[ir.Value], list[ir.Value]]:
    """The inputs themselves are scanned, and projected in each step."""
    inputs = layer.node.inputs[0]
    if inputs is None:
        raise ValueError("a GRU node has no inputs")
    step = body.takes("inputs", ir.DataType.FLOAT, ["batch", layer.inputs.shape[2]])
    return [inputs], _projected(body, layer, 0, step)


def _from_lookups(
    nodes: Nodes,
    body: Body,
    layer: Layer,
    tokens: Tokens,
    span: tuple[ir.Value | None, ir.Value],
    name: str,
) -> tuple[list[ir.Value], list[ir.Value]]:
    """The ids are scanned, looked up and projected in each step, while they are at hand.

    Looked up for all steps at once, they would be written to memory and read again.
    """
    step = body.takes("ids", ir.DataType.INT64, ["batch"])
    inputs = body.op("Gather", body.weight(tokens.tokens, "tokens"), step, axis=0)
    scanned = [tokens.ids]
    if tokens.positions is not None:
        scanned.append(_by_step(nodes, tokens.positions, span, f"{name}_positions"))
        place = body.takes("position", ir.DataType.FLOAT, [1, tokens.positions.shape[1]])
        inputs = body.op("Add", inputs, place)
    return scanned, _projected(body, layer, 0, inputs)


def _from_tokens(
    nodes: Nodes,
    body: Body,
    layer: Layer,
    tokens: Tokens,
    span: tuple[ir.Value | None, ir.Value],
    name: str,
) -> tuple[list[ir.Value], list[ir.Value]]:
    """The ids are scanned, and each step looks their projections up: `E·Wᵀ + (P·Wᵀ + b)`.

    Joined to a table a step, `[vocabulary, hidden]`, it is one lookup a gate for token and
    position, and an id outside the vocabulary is still refused.
    """
    step = body.takes("ids", ir.DataType.INT64, ["batch"])
    ids = tokens.ids if span[0] is None else _sliced(nodes, tokens.ids, span)
    scanned, parts = [ids], []
    for gate, label in enumerate(GATES):
        table = layer.projected(tokens.tokens, gate)
        if tokens.positions is None:
            rows = body.weight(table + layer.bias[gate], f"tokens_{label}")
        else:
            places = layer.projected(tokens.positions, gate) + layer.bias[gate]
            by_token = nodes.constant(table.astype(np.float32), f"{name}_tokens_{label}")
            by_place = _by_step(nodes, places, span, f"{name}_positions_{label}")
            scanned.append(nodes.op("Add", by_token, by_place))
            rows = body.takes(f"table_{label}", ir.DataType.FLOAT, list(table.shape))
        parts.append(body.op("Gather", rows, step, axis=0))
    return scanned, parts


def _by_step(
    nodes: Nodes, rows: Floats, span: tuple[ir.Value | None, ir.Value], name: str
) -> ir.Value:
    """A table's rows for the steps that the Scan runs over, `[steps, 1, …]`."""
    return _sliced(nodes, nodes.constant(rows[:, None].astype(np.float32), name), span)


def _sliced(nodes: Nodes, value: ir.Value, span: tuple[ir.Value | None, ir.Value]) -> ir.Value:
    """The steps of a value that the Scan runs over."""
    zero = nodes.constant([0], "zero")
    first, length = span
    one = nodes.constant([1], "one")
    return nodes.op("Slice", value, zero if first is None else first, length, zero, one)


def _steps_looked_up(nodes: Nodes, length: ir.Value, depth: int) -> ir.Value:
    """How many steps are looked up, `[1]`: one is always left, since no Scan runs over none."""
    left = nodes.op("Sub", length, nodes.constant([1], "one"))
    return nodes.op("Min", left, nodes.constant([depth], "looked_up"))


def _states_looked_up(
    nodes: Nodes,
    stack: list[Layer],
    tokens: Tokens,
    depth: int,
    first: ir.Value,
    lengths: ir.Value | None,
    name: str,
) -> list[ir.Value]:
    """Each layer's state after the first steps, `[batch, hidden]`, from tables of all beginnings.

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
    states = prefix_states(stack, tokens, depth)
    return [
        nodes.op(
            "Gather",
            nodes.constant(state.astype(np.float32), f"{name}_states{index}"),
            row,
            axis=0,
        )
        for index, state in enumerate(states)
    ]


def _start(nodes: Nodes, layer: Layer, start: ir.Value | None, batch: ir.Value) -> ir.Value:
    """The state that a layer starts from: the one it is given, or zeros."""
    if start is not None:
        return nodes.op("Squeeze", start, nodes.constant([0], "zero"))
    shape = nodes.op("Concat", batch, nodes.constant([layer.hidden], "hidden"), axis=0)
    return nodes.op("ConstantOfShape", shape, value=ir.tensor(np.zeros(1, np.float32)))


def _active(nodes: Nodes, lengths: ir.Value, span: tuple[ir.Value | None, ir.Value]) -> ir.Value:
    """1 where a step is before a row's end, else 0: float `[sequence, batch, 1]`."""
    first, length = span
    zero = nodes.constant(np.array(0), "scalar_zero")
    start = zero if first is None else nodes.op("Squeeze", first)
    one = nodes.constant(np.array(1), "scalar_one")
    steps = nodes.op("Range", start, nodes.op("Squeeze", length), one)
    steps = nodes.op("Cast", steps, to=ir.DataType.INT32)
    before = nodes.op("Less", nodes.op("Unsqueeze", steps, nodes.constant([1], "one")), lengths)
    numbers = nodes.op("Cast", before, to=ir.DataType.FLOAT)
    return nodes.op("Unsqueeze", numbers, nodes.constant([2], "two"))


def _give_state(nodes: Nodes, gru: ir.Node, state: ir.Value) -> None:
    """Let the readers of a GRU's final state, `[1, batch, hidden]`, read `[batch, hidden]`."""
    if not is_used(gru, 1):
        return
    for user, _ in list(gru.outputs[1].uses()):
        if user.op_type == "Squeeze" and axes(user) == [0]:
            exchange(user.outputs[0], state)
            _remove(user.graph, user)
    if is_used(gru, 1):
        exchange(gru.outputs[1], nodes.op("Unsqueeze", state, nodes.constant([0], "zero")))


def _floats(value: ir.Value) -> int:
    """How many trained numbers a value holds."""
    array = constant(value)
    return array.size if array is not None and array.dtype.kind == "f" else 0


def _remove(graph: Any, node: ir.Node) -> None:
    """Take a node away, and the Squeeze between it and the layer above."""
    for output in node.outputs:
        for user, _ in list(output.uses()):
            _remove(graph, user)
    graph.remove(node, safe=True)
