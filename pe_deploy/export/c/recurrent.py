"""Recurrent layers in C.

What the inputs give the gates of all steps of a tile comes first: looked up by token and by place
where that is a table of bearable size, else one product of matrices. Then step follows step.
"""

from __future__ import annotations

import numpy as np

from pe_deploy.export.c import program as p
from pe_deploy.export.c.frame import Frame
from pe_deploy.export.c.literals import LANES, gate_rows, padded, panels
from pe_deploy.export.c.pointwise import dense_layer
from pe_deploy.export.c.program import Floats, Value
from pe_deploy.export.passes.gru_layer import GRULayer
from pe_deploy.export.passes.lstm_layer import LSTMLayer
from pe_deploy.export.passes.rnn_layer import RNNLayer

TABLE_BYTES = 2**20
"""What tokens give the gates of a layer is looked up where that table is no larger."""

_HALF = {GRULayer: (0.5, 0.5, 1.0), LSTMLayer: (0.5, 0.5, 0.5, 1.0), RNNLayer: (1.0,)}
"""Gates that end in a sigmoid have half their weights: `tanh_parts` says why."""

_KINDS = {GRULayer: ("gru", 3), LSTMLayer: ("lstm", 4), RNNLayer: ("rnn", 1)}
"""The kernel of each kind, and the sums that it has in registers for each vector of a state."""

PART = 192
"""A step of a layer adds up so many inputs, divided by its sums, at once; `steps.c` says why."""


def looked_up(run: p.Run) -> tuple[p.Lookup, p.Places | None] | None:
    """The tables that a layer reads, where what they give its gates may be tables, too."""
    source = run.inputs[0]
    is_sum = isinstance(source, p.Map) and source.function == "add"
    parts = list(source.inputs) if is_sum else [source]
    lookups = [part for part in parts if isinstance(part, p.Lookup)]
    places = [part for part in parts if isinstance(part, p.Places) and not part.inputs]
    if len(lookups) != 1 or len(lookups) + len(places) != len(parts):
        return None
    numbers = len(lookups[0].table) * len(run.layer.GATES) * padded(run.width)
    return (lookups[0], next(iter(places), None)) if 4 * numbers <= TABLE_BYTES else None


def summed(run: p.Run) -> int:
    """How many floats a step keeps for each row while a wide layer is summed up, part by part."""
    _, sums = _KINDS[type(run.layer)]
    lanes = LANES if sums > 1 else 2 * LANES
    return sums * lanes if run.layer.hidden > PART // sums else 0


def begin(frame: Frame, run: p.Run) -> None:
    """Before its loop: the states that a layer starts from.

    The outputs of a tile lie behind the state before its first step, or before the state after its
    last one where they are read backwards.
    """
    name, stride, backwards = frame.names[run], frame.stride(run), run.layer.backwards
    if frame.is_kept(run):
        slot = frame.buffer(f"{name}_kept", stride, tokens=1, rows=1)
        slot += f" + length * rows * {stride}" if backwards else ""
    else:
        slot = frame.buffer(f"{name}_tile", stride, tile=1, rows=1)
        slot += f" + ((length - 1) % (TILE / rows) + 1) * rows * {stride}" if backwards else ""
    slots = [slot]
    if isinstance(run.layer, LSTMLayer):
        slots.append(frame.buffer(f"{name}_cell", stride, rows=1))
    for index, to in enumerate(slots):
        frame.line(f"for (size_t j = 0; j < rows * {stride}; j++) ({to})[j] = 0.0f;")
        if len(run.inputs) > 1 + index:
            with frame.each_row():
                start = frame.element(run.inputs[1 + index])
                frame.each(run.width, f"({to})[r * {stride} + j] = {start};")


def compute(frame: Frame, run: p.Run, is_read: bool) -> None:
    """The outputs of a layer for all steps of a tile."""
    name, stride, layer = frame.names[run], frame.stride(run), run.layer
    place = _gates(frame, run)
    _step(frame, run, placed=place != "NULL")
    base = f"{name}_kept + first * rows * {stride}" if frame.is_kept(run) else f"{name}_tile"
    if is_read:
        first = "" if layer.backwards else f" + rows * {stride}"
        frame.line(f"const float *const {name} = {base}{first};")
    with frame.block("for (size_t n = 0; n < steps; n++)"):
        frame.line(f"const size_t s = {'steps - 1 - n' if layer.backwards else 'n'};")
        frame.line(f"float *const left = {base} + s * rows * {stride};")
        frame.line(f"float *const right = left + rows * {stride};")
        before, after = ("right", "left") if layer.backwards else ("left", "right")
        cell = f"{name}_cell, " if isinstance(layer, LSTMLayer) else ""
        given = f"rows, from + s * rows, {place}, {before}, {cell}{after}, (first + s) % 2"
        frame.line(f"{name}_step({given});")


def carry(frame: Frame, run: p.Run) -> None:
    """Behind a tile: put its last state to where the next tile begins."""
    if frame.is_kept(run):
        return
    name, stride = frame.names[run], frame.stride(run)
    copied = f"for (size_t j = 0; j < rows * {stride}; j++) {name}_tile"
    if run.layer.backwards:
        frame.line(f"{copied}[most * rows * {stride} + j] = {name}_tile[j];")
    else:
        frame.line(f"{copied}[j] = {name}_tile[steps * rows * {stride} + j];")


def final(frame: Frame, value: p.Final) -> str:
    """Where a final state lies, behind its loop."""
    run = value.inputs[0]
    assert isinstance(run, p.Run)  # noqa: S101 - nothing else has one
    name, stride = frame.names[run], frame.stride(run)
    if value.state:
        return f"{name}_cell"
    if not frame.is_kept(run):
        return f"{name}_tile"
    return f"{name}_kept" + ("" if run.layer.backwards else f" + length * rows * {stride}")


def _gates(frame: Frame, run: p.Run) -> str:
    """Point at what the inputs give the gates, `from`; and what the place of a step adds."""
    name, layer = frame.names[run], run.layer
    half = np.array(_HALF[type(layer)])[:, None]
    wide = len(layer.GATES) * frame.stride(run)
    if (found := looked_up(run)) is None:
        source: Value = run.inputs[0]
        weights, bias = layer.inputs * half[:, :, None], layer.bias * half
        dense_layer(frame, f"{name}_gates", weights, bias, frame.stride(source))
        frame.buffer("gates", wide, tile=1)
        frame.line(f"{name}_gates_of(steps * rows, {frame.names[source]}, gates);")
        frame.line(f"for (size_t i = 0; i < steps * rows; i++) from[i] = gates + i * {wide};")
        return "NULL"

    def table(what: str, rows: Floats, biased: bool) -> str:
        parts = [layer.projected(rows, gate) for gate in range(len(layer.GATES))]
        added = np.stack(parts, axis=1) + (layer.bias if biased else 0)
        return frame.table(f"{name}_{what}", gate_rows(added * half))

    lookup, places = found
    tokens = table("tokens", lookup.table, places is None)
    ends = next(iter(lookup.inputs[0].inputs), None)
    with frame.each_token():
        frame.line(f"from[i] = {tokens} + (size_t)ids[r * length + {frame.step(ends)}] * {wide};")
    if places is None:
        return "NULL"
    return f"{table('places', places.table, True)} + (first + s) * {wide}"


def _step(frame: Frame, run: p.Run, placed: bool) -> None:
    """Have the function that takes one step of all rows."""
    name, layer = frame.names[run], run.layer
    kind, sums = _KINDS[type(layer)]
    frame.kernels |= {"tanh", "gates", "steps", kind}
    recurrent = layer.recurrent * np.array(_HALF[type(layer)])[:, None, None]
    weights = [frame.table(f"{name}_recurrent", panels(recurrent))]
    cell = own = relu = ""
    if isinstance(layer, GRULayer):
        bias = np.zeros(padded(layer.hidden))
        bias[: layer.hidden] = layer.new_bias
        weights.append(frame.table(f"{name}_bias", bias))
    elif isinstance(layer, LSTMLayer):
        cell, own = "float *cell, ", "cell + row * stride, "
    elif isinstance(layer, RNNLayer):
        relu = f"{int(layer.activation == 'Relu')}, "
    frame.layers[
        name
    ] = f"""static void {name}_step(size_t rows, const float *const *from, const float *place,
    const float *h, {cell}float *out, size_t odd)
{{
    const size_t hidden = {layer.hidden}, stride = {frame.stride(run)};
#define CELLS(R, V, SUMS) \\
    {kind}_block(R, V, {int(placed)}, {relu}hidden, stride, lane, begin, end, SUMS, \\
    {", ".join(weights)}, from + row, place, h + row * stride, {own}out + row * stride)
    STEP(CELLS, {sums}, ROWS_OF_{sums}, VECTORS_OF_{sums})
#undef CELLS
}}
"""
