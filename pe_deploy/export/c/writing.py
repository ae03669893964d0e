"""The scheduled values of a model as one function in C, which answers some rows.

Within a loop over their tokens, a tile of some steps of all these rows is worked on at once, so
that few rows load the weights of what is no recurrence once for several steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pe_deploy.config import Signature
from pe_deploy.errors import ExportError
from pe_deploy.export.c import pointwise, recurrent
from pe_deploy.export.c import program as p
from pe_deploy.export.c.frame import Frame
from pe_deploy.export.c.program import Per, Value
from pe_deploy.export.c.schedule import Loop

_TILE = 48
"""Rows times steps that are worked on at once, where the stack allows it."""

_STACK = 2**18
_STACK_OF_FEW = 2**20
_STACK_OF_ONE = 2**22
"""Bytes that a call may take: where it answers many rows at once, up to eight, and one."""

_SPILLED = 2**14
"""Bytes beside the buffers. Registers that -O3 spills took up to 10 kB, by clang with AVX-512."""

_KERNELS = (
    "tanh", "tanh_of", "sigmoid_of", "sums", "places", "turned", "root", "norm", "dense", "gates",
    "gru", "lstm", "rnn", "steps",
)  # fmt: skip
"""In an order in which none calls one behind it."""


class Written(NamedTuple):
    """A model in C, without its interface.

    Attributes:
        kernels: which of the kernels it calls.
        tables: its weights.
        numbers: how many these are.
        layers: the functions of its layers.
        answer: the function that answers some rows.
        block: how many rows that is at most.
        tile: rows times steps that are worked on at once.
        stack: the bytes of stack that it takes.
    """

    kernels: Sequence[str]
    tables: Sequence[str]
    numbers: int
    layers: Sequence[str]
    answer: str
    block: int
    tile: int
    stack: int


def written(logits: Value, signature: Signature) -> Written:
    """Write a model.

    Raises:
        ExportError: a row alone takes more stack than a thread may have.
    """
    frame = Frame(logits, signature)
    schedule = frame.schedule
    for loop, before in zip(schedule.loops, schedule.before, strict=False):
        _rows(frame, before)
        _loop(frame, loop)
    _rows(frame, schedule.before[-1])
    if logits.per is not Per.TOKEN:
        with frame.each_row():
            _give(frame, "r")
    block, tile = _sizes(frame)
    declared = [buffer.declared(name) for name, buffer in frame.buffers.items()]
    if any(isinstance(value, p.Run) for value in frame.names):
        declared.append("const float *from[TILE];")
    # It is called so; said, for else a compiler warns of buffers that no row fills.
    bounds = "if (rows == 0 || rows > BLOCK) return;"
    lines = [*(f"    {line}" for line in (bounds, *declared)), *frame.lines]
    head = "static void answer(const int64_t *ids, size_t rows, size_t length, float *logits)"
    return Written(
        [name for name in _KERNELS if name in frame.kernels],
        list(frame.tables.values()),
        frame.numbers,
        list(frame.layers.values()),
        "\n".join([head, "{", *lines, "}", ""]),
        block,
        tile,
        _stack(frame, block, tile) + 8 * tile + _SPILLED,
    )


def _sizes(frame: Frame) -> tuple[int, int]:
    """The rows at once, and rows times steps: as many as fit the stack, eight if at all."""
    many = [(size, size, _STACK) for size in (48, 36, 24, 16, 12)]
    few = [(8, 8, _STACK_OF_FEW), (4, 8, _STACK_OF_FEW), (2, 8, _STACK_OF_FEW)]
    for block, tile, most in [*many, *few, (1, 8, _STACK_OF_ONE)]:
        if _stack(frame, block, tile) <= most:
            return block, tile
    raise ExportError(
        f"the form in C of this model takes {_stack(frame, 1, 8):,} bytes of stack for one row; "
        f"allowed: {_STACK_OF_ONE:,}"
    )


def _stack(frame: Frame, block: int, tile: int) -> int:
    length = frame.signature.max_length
    runs = [value for value in frame.names if isinstance(value, p.Run)]
    step = 4 * block * max(map(recurrent.summed, runs), default=0)
    return step + sum(buffer.bytes(block, tile, length) for buffer in frame.buffers.values())


def _rows(frame: Frame, values: Iterable[Value]) -> None:
    """What each row, or the call, has of its own."""
    for value in values:
        if not isinstance(value, p.Constant | p.Length):
            frame.buffer(frame.names[value], frame.stride(value), rows=1)
            pointwise.compute(frame, value)


def _loop(frame: Frame, loop: Loop) -> None:
    """One pass over the tokens, tile by tile."""
    runs = [value for value in loop.values if isinstance(value, p.Run)]
    for value in loop.rows:
        _begin_row(frame, value)
    for run in runs:
        recurrent.begin(frame, run)
    with frame.block():
        until = _until(frame, loop)
        frame.line("const size_t most = TILE / rows;")
        head = (
            "for (size_t end = length; end > 0;)"
            if loop.backwards
            else f"for (size_t first = 0; first < {until};)"
        )
        with frame.block(head):
            if loop.backwards:
                frame.line("const size_t first = (end - 1) / most * most, steps = end - first;")
            else:
                frame.line(f"const size_t rest = {until} - first;")
                frame.line("const size_t steps = rest < most ? rest : most;")
            _tile(frame, loop)
            for run in runs:
                recurrent.carry(frame, run)
            frame.line("end = first;" if loop.backwards else "first += steps;")
    for value in loop.rows:
        _end_row(frame, value)


def _tile(frame: Frame, loop: Loop) -> None:
    readers = {*loop.values, *loop.rows}
    read = [each for value in [*loop.values, *loop.rows] for each in value.inputs]
    for value in dict.fromkeys(read):
        if frame.is_kept(value) and value not in loop.values and _is_read(frame, value, readers):
            shift = " + 1" if isinstance(value, p.Run) and not value.layer.backwards else ""
            _point_at_kept(frame, value, shift)
    for value in loop.values:
        if isinstance(value, p.Run):
            recurrent.compute(frame, value, _is_read(frame, value, readers))
        elif _is_read(frame, value, readers) or frame.is_kept(value):
            if frame.is_kept(value):
                frame.buffer(f"{frame.names[value]}_kept", frame.stride(value), tokens=1)
                _point_at_kept(frame, value)
            else:
                frame.buffer(frame.names[value], frame.stride(value), tile=1)
            pointwise.compute(frame, value)
    for value in loop.rows:
        _gather_row(frame, value)
    logits = frame.logits
    if logits in loop.values and frame.schedule.loops[frame.schedule.home[logits]] is loop:
        with frame.each_token():
            _give(frame, "(r * length + first + s)")


def _point_at_kept(frame: Frame, value: Value, shift: str = "") -> None:
    name = frame.names[value]
    at = f"(first{shift}) * rows * {frame.stride(value)}"
    frame.line(f"float *const {name} = {name}_kept + {at};")


def _is_read(frame: Frame, value: Value, readers: set[Value]) -> bool:
    """Whether the numbers of a tile are read, and not a table, turned rows or last states."""
    if value.per is Per.PLACE:
        return False
    if value is frame.logits:
        return True
    for reader in frame.readers.get(value, []):
        if reader not in readers or isinstance(reader, p.Lookup | p.Turned | p.Final):
            continue
        if isinstance(reader, p.Run) and reader.inputs[0] is value and recurrent.looked_up(reader):
            continue
        used = isinstance(reader, p.Run) or reader.per is Per.ROW or frame.is_kept(reader)
        if used or _is_read(frame, reader, readers):
            return True
    return False


def _until(frame: Frame, loop: Loop) -> str:
    """Where a loop may end: at the last of the tokens that are wanted, if nothing else is."""
    places = {value.inputs[1] for value in loop.rows if isinstance(value, p.At)}
    others = [value for value in loop.rows if not isinstance(value, p.At)]
    others += [value for value in loop.values if frame.is_kept(value) or value is frame.logits]
    if others or len(places) != 1 or loop.backwards:
        return "length"
    (place,) = places
    if place.per is not Per.ROW:
        return "length"
    frame.kernels.add("places")
    frame.line("size_t until = 1;")
    with frame.each_row():
        frame.line(f"const size_t end = place_of({frame.element(place)}, length) + 1;")
        frame.line("if (end > until && end <= length) until = end;")
    return "until"


def _begin_row(frame: Frame, value: Value) -> None:
    if isinstance(value, p.Final):
        return
    name, stride = frame.names[value], frame.stride(value)
    frame.buffer(name, stride, rows=1)
    function = value.function if isinstance(value, p.Reduce) else "at"
    begin = {"max": "-INFINITE", "min": "INFINITE"}.get(function, "0.0f")
    filled = f"for (size_t j = 0; j < rows * {stride}; j++)"
    frame.line(f"{filled} {name}[j] = {begin};")
    if function in ("sum", "mean"):
        frame.line(f"{filled} {frame.buffer(f'{name}_lost', stride, rows=1)}[j] = 0.0f;")


def _gather_row(frame: Frame, value: Value) -> None:
    """What the tokens of a tile add to what their row has."""
    source, to = value.inputs[0], frame.element(value)
    if isinstance(value, p.At):
        frame.kernels.add("places")
        with frame.each_row():
            place = frame.element(value.inputs[1])
            frame.line(f"const size_t s = place_of({place}, length) - first, i = s * rows + r;")
            with frame.block("if (s < steps)"):
                frame.each(value.width, f"{to} = {frame.element(source)};")
    elif isinstance(value, p.Reduce):
        lost = to.replace("[", "_lost[", 1)
        with frame.each_token():
            element = frame.element(source)
            if value.function in ("sum", "mean"):
                frame.kernels.add("sums")
                frame.each(value.width, f"add_to(&{to}, &{lost}, {element});")
            else:
                sign = ">" if value.function == "max" else "<"
                frame.each(value.width, f"if ({element} {sign} {to}) {to} = {element};")


def _end_row(frame: Frame, value: Value) -> None:
    name = frame.names[value]
    if isinstance(value, p.Final):
        frame.line(f"const float *const {name} = {recurrent.final(frame, value)};")
    elif isinstance(value, p.Reduce) and value.function == "mean":
        size = f"rows * {frame.stride(value)}"
        frame.line(f"for (size_t j = 0; j < {size}; j++) {name}[j] /= (float)length;")


def _give(frame: Frame, row: str) -> None:
    """Write the logits to where the caller wants them."""
    width = frame.logits.width
    frame.each(width, f"logits[{row} * {width} + j] = {frame.element(frame.logits)};")
