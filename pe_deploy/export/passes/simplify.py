"""The exported graph without the work that its answer does not need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from pe_deploy.export.passes import graph as g


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that gives the same answers with fewer nodes and less memory to move.

    Each rule rewrites a part where it can prove, from the graph alone, that nothing changes, and
    leaves every other part as it is: any graph may be given. Trained weights keep their names.
    """
    graph = (copy := g.read(model)).graph
    for rule in RULES:
        for node in list(graph):
            rule(graph, node)
        g.remove_unused(copy)
    return g.written(copy)


def _zero_state_left_out(graph: ir.Graph, node: ir.Node) -> None:
    """A layer without initial states starts from zeros, so zeros need not be made for it.

    GRU(X, W, R, B, , zeros)  →  GRU(X, W, R, B)
    """
    if node.op_type in g.RECURRENT:
        for index in (5, 6):  # an LSTM has two
            if _is_zero(g.given(node, index)):
                node.replace_input_with(index, None)


def _row_of_joined(graph: ir.Graph, node: ir.Node) -> None:
    """One row of the joined states of all layers is of one layer: no need to join them.

        Gather(Concat(h0, h1), 1)                        →  Squeeze(h1)        in one direction
        Gather(Concat(h0, h1), 3)                        →  Gather(h1, 1)      in two
        Gather(Concat(Unsqueeze(a), Unsqueeze(b)), 1)    →  b

    Only where each part is known to be so many rows: the `[directions, batch, hidden]` of a
    recurrent layer, or one row that was given an axis.
    """
    index = g.constant(node.inputs[1]) if node.op_type == "Gather" else None
    if index is None or index.shape != () or node.attributes.get_int("axis", 0) != 0:
        return
    rows = _rows(node.inputs[0])
    if rows is None or not -len(rows) <= int(index) < len(rows):
        return
    part, row, count = rows[int(index)]
    if row is None:
        g.exchange(node.outputs[0], part)
    elif count == 1:
        g.exchange(node.outputs[0], _without_layer_axis(graph, node, part))
    elif part is not node.inputs[0]:
        nodes = g.Nodes(graph, node)
        which = nodes.constant(np.array(row), "direction")
        g.exchange(node.outputs[0], nodes.op("Gather", part, which, axis=0))


def _rows(value: ir.Value | None) -> list[tuple[ir.Value, int | None, int]] | None:
    """For each row of a value: where it is from, which row it is there, and of how many.

    Which is None where it is all of what it is from; the whole is None where that is not known.
    """
    if (node := g.made_by(value, "Concat")) and node.attributes.get_int("axis", -1) == 0:
        parts = [_rows(part) for part in node.inputs]
        return None if None in parts else [row for part in parts for row in part or []]
    if (node := g.made_by(value, "Unsqueeze")) and g.axes(node) == [0] and node.inputs[0]:
        return [(node.inputs[0], None, 1)]
    count = _directions(value)
    if value is None or count is None:
        return None
    return [(value, row, count) for row in range(count)]


def _last_step(graph: ir.Graph, node: ir.Node) -> None:
    """A layer's output at the last step is its final state, which needs no outputs of other steps.

    Gather(Transpose(Squeeze(Y)), -1)  →  Squeeze(Y_h)      Y, Y_h = GRU(…)
    """
    index = g.constant(node.inputs[1]) if node.op_type == "Gather" else None
    if index is None or index.shape != () or int(index) != -1:
        return
    steps, axis = node.inputs[0], node.attributes.get_int("axis", 0)
    if axis == 1:
        transposed = g.made_by(steps, "Transpose")
        if transposed is None or g.perm(transposed) != [1, 0, 2]:
            return
        steps = transposed.inputs[0]
    elif axis != 0:
        return
    layer = g.recurrent_giving(steps)
    if layer is not None and g.is_recurrent(layer) and g.given(layer, 4) is None:
        if len(layer.outputs) < 2:
            layer.resize_outputs(2)
        g.exchange(node.outputs[0], _without_layer_axis(graph, node, layer.outputs[1]))


def _side_by_side(graph: ir.Graph, node: ir.Node) -> None:
    """The outputs of two directions join their last axes; no size need be asked for that.

    Reshape(Transpose(Y), Concat(length, batch, 2 * hidden))  →  Reshape(Transpose(Y), [0, 0, -1])
    """
    transposed = g.made_by(node.inputs[0], "Transpose") if node.op_type == "Reshape" else None
    sizes = None if transposed is None else g.made_by(node.inputs[1], "Concat")
    if transposed is None or sizes is None or g.perm(transposed) != [0, 2, 1, 3]:
        return
    layer, ids = g.made_by(transposed.inputs[0], *g.RECURRENT), graph.inputs[0]
    if layer is None or len(sizes.inputs) != 3:
        return
    length, batch, width = sizes.inputs
    both = 2 * layer.attributes.get_int("hidden_size", 0)
    if g.is_size_of(length, ids, 1) and g.is_size_of(batch, ids, 0) and g.integers(width) == [both]:
        nodes = g.Nodes(graph, node)
        node.replace_input_with(1, nodes.constant([0, 0, -1], "side_by_side"))
        node.attributes.pop("allowzero", None)


def _steps_gathered_time_first(graph: ir.Graph, node: ir.Node) -> None:
    """A step of a row is found under (step, row) as well as, once transposed, under (row, step).

    GatherND(Transpose(Y), Concat(row, step))  →  GatherND(Y, Concat(step, row))
    """
    if node.op_type != "GatherND" or node.attributes.get_int("batch_dims", 0) != 0:
        return
    transposed = g.made_by(node.inputs[0], "Transpose")
    joined = g.made_by(node.inputs[1], "Concat")
    if transposed is None or g.perm(transposed) != [1, 0, 2] or joined is None:
        return
    if joined.attributes.get_int("axis") not in (-1, 1) or not g.used_once(transposed.outputs[0]):
        return
    # Two columns of one number each: with rank 2 on both sides, no other axis can be meant.
    columns = [g.made_by(part, "Unsqueeze") for part in joined.inputs]
    if len(columns) != 2 or any(c is None or g.axes(c) not in ([-1], [1]) for c in columns):
        return
    if any(column is None or g.rank(column.outputs[0]) != 2 for column in columns):
        return
    nodes = g.Nodes(graph, node)
    pairs = nodes.op("Concat", joined.inputs[1], joined.inputs[0], axis=-1)
    g.exchange(node.outputs[0], nodes.op("GatherND", transposed.inputs[0], pairs))


def _positions_sliced(graph: ir.Graph, node: ir.Node) -> None:
    """Rows 0, 1, 2, … of a table are a slice of it, which every row of the batch can share.

        Add(X, Gather(table, Range(0, length)))  →  Add(X, Slice(table, 0, length))

    Only where they are added to something of as many steps, so that a sequence longer than the
    table still fails: a slice stops at the table's end. (A table of one row would be stretched.)
    """
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
        return
    source, ids = node.inputs[0], graph.inputs[0]
    table = g.constant(source)
    if source is None or table is None or table.ndim != 2 or len(table) < 2:
        return
    if node.outputs[0].is_graph_output() or not _counts_steps(node.inputs[1], ids):
        return
    for user, index in node.outputs[0].uses():
        other = user.inputs[1 - index] if user.op_type == "Add" else None
        if other is None or other.shape is None or ids.shape is None or other.shape.rank() != 3:
            return
        if list(other.shape[:2]) != list(ids.shape):
            return
    nodes = g.Nodes(graph, node)
    zero, one = nodes.constant([0], "zero"), nodes.constant([1], "one")
    length = nodes.op("Shape", ids, start=1, end=2)
    rows = nodes.op("Slice", source, zero, length, zero, one)
    rows.type, rows.shape = source.type, ir.Shape([None, table.shape[1]])
    g.exchange(node.outputs[0], rows)


def _time_first(graph: ir.Graph, node: ir.Node) -> None:
    """Transposing ids before they are embedded gives what transposing the embeddings gives.

        Transpose(Add(Gather(E, ids), P))  →  Add(Gather(E, Transpose(ids)), Unsqueeze(P))

    An id is one number and its embedding many. Elementwise operations between the two do not
    care which axis comes first.
    """
    source = g.given(node, 0)
    if node.op_type != "Transpose" or g.perm(node) != [1, 0, 2] or source is None:
        return
    if plan := _transposed(source, g.Nodes(graph, node)):
        g.exchange(node.outputs[0], plan())


Rule = Callable[[ir.Graph, ir.Node], None]

RULES: tuple[Rule, ...] = (
    _zero_state_left_out,
    _row_of_joined,
    _last_step,
    _side_by_side,
    _steps_gathered_time_first,
    _positions_sliced,
    _time_first,
)

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Tanh", "Sigmoid", "Relu", "Identity")


def _transposed(value: ir.Value, nodes: g.Nodes) -> Callable[[], ir.Value] | None:
    """How to get the `[sequence, batch, …]` of a value that is, or stretches to, batch first.

    None where it cannot be had without transposing something large.
    """
    size = g.rank(value)
    if size is not None and size < 2:
        return lambda: value
    if size == 2:
        return lambda: _over_the_batch(value, nodes)
    if size != 3 or not g.used_once(value):
        return None
    if (node := g.made_by(value, "Unsqueeze")) and g.axes(node) == [0]:
        inner = node.inputs[0]
        return None if inner is None else lambda: _over_the_batch(inner, nodes)
    if (node := g.made_by(value, "Gather")) and node.attributes.get_int("axis", 0) == 0:
        table, ids = node.inputs
        if table is None or ids is None or g.rank(table) != 2 or g.rank(ids) != 2:
            return None
        return lambda: nodes.op("Gather", table, nodes.op("Transpose", ids, perm=[1, 0]), axis=0)
    if node := g.made_by(value, *ELEMENTWISE):
        operator = node.op_type
        plans = [_transposed(part, nodes) for part in node.inputs if part is not None]
        ready = [plan for plan in plans if plan is not None]
        if len(ready) == len(plans):
            return lambda: nodes.op(operator, *(plan() for plan in ready))
    return None


def _over_the_batch(rows: ir.Value, nodes: g.Nodes) -> ir.Value:
    """`[sequence, 1, …]` of one row a step.

    A slice of a table is taken of the table so shaped, which runtimes work out when they load.
    """
    one = nodes.constant([1], "one")
    sliced = g.made_by(rows, "Slice")
    if (
        sliced is None
        or g.constant(sliced.inputs[0]) is None
        or g.integers(g.given(sliced, 3)) != [0]
    ):
        return nodes.op("Unsqueeze", rows, one)
    table, *bounds = sliced.inputs
    return nodes.op("Slice", nodes.op("Unsqueeze", table, one), *bounds)


def _is_zero(value: ir.Value | None) -> bool:
    """Whether a value holds nothing but zeros, whatever the graph is given."""
    array = g.constant(value)
    if array is not None:
        return not array.any()
    if node := g.made_by(value, "ConstantOfShape"):
        filled = node.attributes.get("value")
        return filled is None or not filled.as_tensor().numpy().any()
    moved = ("Expand", "Slice", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Tile")
    node = g.made_by(value, *moved)
    return node is not None and _is_zero(node.inputs[0])


def _directions(value: ir.Value | None) -> int | None:
    """How many directions a final state has; None where a value is none."""
    node = g.made_by(value, *g.RECURRENT)
    if node is None or node.attributes.get_int("layout", 0) != 0 or value is node.outputs[0]:
        return None
    return 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1


def _without_layer_axis(graph: ir.Graph, before: ir.Node, state: ir.Value | None) -> ir.Value:
    """`[batch, hidden]` of a final state `[1, batch, hidden]`."""
    nodes = g.Nodes(graph, before)
    return nodes.op("Squeeze", state, nodes.constant([0], "zero"))


def _counts_steps(value: ir.Value | None, ids: ir.Value) -> bool:
    """Whether a value counts 0, 1, 2, … along its last axis, repeated along the others."""
    if node := g.made_by(value, "Unsqueeze"):
        return g.axes(node) == [0] and _counts_steps(node.inputs[0], ids)
    if node := g.made_by(value, "Expand", "Tile"):
        return _ends_in_one(node.inputs[1]) and _counts_steps(node.inputs[0], ids)
    return g.is_range_of(value, ids, 1)


def _ends_in_one(value: ir.Value | None) -> bool:
    """Whether a shape, or repeats, leaves the last axis as it is."""
    if node := g.made_by(value, "Concat"):
        return _ends_in_one(node.inputs[-1])
    found = g.integers(value)
    return found is not None and len(found) > 0 and found[-1] == 1
