"""Values that follow from the same row or token alone, in C."""

from __future__ import annotations

from pe_deploy.export.c import program as p
from pe_deploy.export.c.frame import Frame
from pe_deploy.export.c.literals import LANES, gate_rows, number, padded, panels
from pe_deploy.export.c.program import Floats, Per, Value

_EXPRESSIONS = {
    "absolute": "{0} < 0.0f ? -{0} : {0}",
    "add": "{0} + {1}",
    "and": "(float)({0} != 0.0f && {1} != 0.0f)",
    "divide": "{0} / {1}",
    "equal": "(float)({0} == {1})",
    "greater": "(float)({0} > {1})",
    "greater_equal": "(float)({0} >= {1})",
    "less": "(float)({0} < {1})",
    "less_equal": "(float)({0} <= {1})",
    "maximum": "{0} > {1} ? {0} : {1}",
    "minimum": "{0} < {1} ? {0} : {1}",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "not": "(float)({0} == 0.0f)",
    "or": "(float)({0} != 0.0f || {1} != 0.0f)",
    "relu": "{0} > 0.0f ? {0} : 0.0f",
    "sqrt": "root({0})",
    "subtract": "{0} - {1}",
    "unequal": "(float)({0} != {1})",
    "where": "{0} != 0.0f ? {1} : {2}",
}
_BY_VECTOR = {"tanh": "tanh_of", "sigmoid": "sigmoid_of"}


def compute(frame: Frame, value: Value) -> None:
    """Fill a value's buffer, for all rows or all tokens of a tile."""
    per_token = value.per is Per.TOKEN
    count = "steps * rows" if per_token else "rows"
    if isinstance(value, p.Dense):
        _dense(frame, value, count)
    elif isinstance(value, p.Norm):
        _norm(frame, value, count)
    elif value.per is Per.CALL:
        _numbers(frame, value, frame.names[value])
    else:
        to = f"{frame.names[value]} + {frame.row(value)} * {frame.stride(value)}"
        with frame.each_token() if per_token else frame.each_row():
            _numbers(frame, value, f"({to})")


def _numbers(frame: Frame, value: Value, to: str) -> None:
    """The numbers of one row or token."""
    if isinstance(value, p.Map) and value.function in _BY_VECTOR:
        _by_vector(frame, value, to)
    elif isinstance(value, p.Map):
        if value.function == "sqrt":
            frame.kernels.add("root")
        inputs = [frame.element(each) for each in value.inputs]
        frame.each(value.width, f"{to}[j] = {_EXPRESSIONS[value.function].format(*inputs)};")
    elif isinstance(value, p.Join):
        start = 0
        for each in value.inputs:
            frame.each(each.width, f"{to}[{start} + j] = {frame.element(each)};")
            start += each.width
    elif isinstance(value, p.Part):
        part = frame.element(value.inputs[0], f"{value.start} + j")
        frame.each(value.width, f"{to}[j] = {part};")
    elif isinstance(value, p.Ids):
        place = frame.step(next(iter(value.inputs), None))
        frame.line(f"{to}[0] = (float)ids[r * length + {place}];")
    elif isinstance(value, p.Lookup):
        place = frame.step(next(iter(value.inputs[0].inputs), None))
        _from_table(frame, value, f"(size_t)ids[r * length + {place}]", value.table, to)
    elif isinstance(value, p.Places):
        _from_table(frame, value, frame.step(value.inputs[0]), value.table, to)
    elif isinstance(value, p.Turned):
        source, ends = value.inputs
        stride = frame.stride(source)
        # Before the first of its outputs, a layer that reads forwards keeps what it starts from.
        first = " + rows" if isinstance(source, p.Run) and not source.layer.backwards else ""
        row = f"({frame.step(ends)} * rows{first} + r) * {stride}"
        frame.line(f"const float *const row = {frame.names[source]}_kept + {row};")
        frame.each(value.width, f"{to}[j] = row[j];")
    else:
        raise NotImplementedError(type(value).__name__)


def _from_table(frame: Frame, value: Value, index: str, table: Floats, to: str) -> None:
    name = frame.table(f"{frame.names[value]}_table", table)
    frame.line(f"const float *const row = {name} + {index} * {value.width};")
    frame.each(value.width, f"{to}[j] = row[j];")


def _by_vector(frame: Frame, value: p.Map, to: str) -> None:
    """A function that works on vectors: on one number in a vector of its own, or on them all."""
    (source,), function = value.inputs, _BY_VECTOR[value.function]
    frame.kernels |= {"tanh", function}
    if value.width == 1:
        frame.line("float alone[LANES] = {0.0f};")
        frame.line(f"alone[0] = {frame.element(source)};")
        frame.line(f"STORE(alone, {function}(LOAD(alone)));")
        frame.line(f"{to}[0] = alone[0];")
        return
    of = f"{frame.names[source]} + {frame.row(source)} * {frame.stride(source)}"
    with frame.block(f"for (size_t j = 0; j < {padded(value.width)}; j += LANES)"):
        frame.line(f"STORE({to} + j, {function}(LOAD({of} + j)));")


def _dense(frame: Frame, value: p.Dense, count: str) -> None:
    name, source = frame.names[value], value.inputs[0]
    weights, bias = value.weights.T[None], value.bias[None]
    dense_layer(frame, name, weights, bias, frame.stride(source))
    frame.line(f"{name}_of({count}, {frame.names[source]}, {name});")


def dense_layer(frame: Frame, name: str, weights: Floats, bias: Floats, stride: int) -> None:
    """Have a function NAME_of(rows, x, out) that multiplies rows by weights.

    Args:
        frame: where to put it.
        name: what its name begins with.
        weights: `[gates, outputs, inputs]`; those of one gate are a plain matrix.
        bias: `[gates, outputs]`.
        stride: how far apart the rows of x are.
    """
    frame.kernels.add("dense")
    gates, outputs, inputs = weights.shape
    # The outputs of one gate lie in order, so that a panel of several vectors is as good.
    fits = (LANES * count for count in (4, 3, 1) if padded(outputs) % (LANES * count) == 0)
    lanes = next(fits) if gates == 1 else LANES
    w = frame.table(f"{name}_weights", panels(weights, lanes))
    b = frame.table(f"{name}_bias", gate_rows(bias[None]))
    wide = gates * padded(outputs)
    frame.layers[name] = (
        f"DENSE({name}_of, {inputs}, {lanes * gates}, {wide}, {stride}, {wide}, {w}, {b})\n"
    )


def _norm(frame: Frame, value: p.Norm, count: str) -> None:
    frame.kernels |= {"root", "norm"}
    name, source = frame.names[value], value.inputs[0]
    scale = frame.table(f"{name}_scale", value.scale)
    bias = frame.table(f"{name}_bias", value.bias)
    frame.line(
        f"norm({count}, {value.width}, {frame.stride(source)}, {frame.names[source]}, {scale}, "
        f"{bias}, {number(value.epsilon)}, {name});"
    )
