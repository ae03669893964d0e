"""How the operators are read that move numbers about, or hold them: shapes, parts, places.

Where the axes of a graph go is followed here, so that nothing of it is left in the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from pe_deploy.config import BATCH, SEQUENCE
from pe_deploy.export.c import program as p
from pe_deploy.export.c.program import Per, Value, made
from pe_deploy.export.c.reader import WHOLE, Reader, Reading
from pe_deploy.export.c.shapes import (
    TOKENS,
    Axis,
    Known,
    NoFormError,
    RowNumbers,
    Size,
    Tensor,
    TokenOfRow,
    aligned,
    place_table,
    positive,
    shape_given,
)
from pe_deploy.export.passes import graph as g


def _shape(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    rank = len(tensor.axes)
    start = positive(node.attributes.get_int("start", 0), rank)
    end = positive(node.attributes.get_int("end", rank), rank)
    sizes = tensor.axes[start:end]
    if len(sizes) != 1:
        return sizes
    return Size(sizes[0]) if isinstance(sizes[0], str) else np.array([sizes[0]])


def _same(reader: Reader, node: ir.Node) -> Known:
    found = reader.given(node.inputs[0])
    if found is None:
        raise NoFormError("its input is not known")
    return found


def _cast(reader: Reader, node: ir.Node) -> Known:
    found = _same(reader, node)
    if not isinstance(found, Tensor):
        return found
    to = ir.DataType(node.attributes.get_int("to"))
    source = node.inputs[0].dtype if node.inputs[0] is not None else None
    if to is ir.DataType.BOOL and source is not ir.DataType.BOOL:
        zero = p.Constant(Per.CALL, 1, numbers=np.zeros(1))
        return Tensor(made(p.Map, found.value, zero, function="unequal"), found.axes)
    if to in WHOLE and (source is None or source not in WHOLE | {ir.DataType.BOOL}):
        raise NoFormError("it rounds numbers")
    return found


def _transpose(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    perm = g.perm(node) or list(range(len(tensor.axes)))[::-1]
    axes = tuple(tensor.axes[axis] for axis in perm)
    wide = [axis for axis in perm if isinstance(tensor.axes[axis], int) and tensor.axes[axis] != 1]
    if wide != sorted(wide):
        raise NoFormError("it turns numbers of a token round")
    return Tensor(tensor.value, axes)


def _unsqueeze(reader: Reader, node: ir.Node) -> Known:
    found = _same(reader, node)
    if not isinstance(found, Tensor):
        return found  # sizes and indices are no axes
    axes: list[Axis] = list(found.axes)
    for axis in sorted(reader.axes(node, len(axes) + reader.array(node, 1).size)):
        axes.insert(axis, 1)
    return Tensor(found.value, tuple(axes))


def _squeeze(reader: Reader, node: ir.Node) -> Known:
    found = _same(reader, node)
    if not isinstance(found, Tensor):
        return found
    gone = reader.axes(node, len(found.axes))
    gone = gone or [index for index, axis in enumerate(found.axes) if axis == 1]
    if any(found.axes[axis] != 1 for axis in gone):
        raise NoFormError("it takes away an axis that may be longer than 1")
    return Tensor(found.value, tuple(a for i, a in enumerate(found.axes) if i not in gone))


def _reshape(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    found = reader.given(node.inputs[1])
    if found is None:
        raise NoFormError("a shape is computed")
    asked = [
        tensor.axes[index] if size == 0 and index < len(tensor.axes) else size
        for index, size in enumerate(shape_given(found))
    ]
    known = reader.signature
    if known.min_length == known.max_length:  # then a shape has the number of tokens
        for index, (axis, size) in enumerate(zip(tensor.axes, asked, strict=False)):
            if axis == SEQUENCE and size == known.max_length:
                asked[index] = SEQUENCE
    return Tensor(tensor.value, _filled(asked, tensor))


def _filled(asked: list[Axis], tensor: Tensor) -> tuple[Axis, ...]:
    """A shape with its one -1 known: what is left of the axes."""
    named = [axis for axis in tensor.axes if isinstance(axis, str)]
    if ahead := _all_tokens(asked, tensor):
        return ahead
    missing = [axis for axis in named if axis not in asked]
    rest = int(np.prod([axis for axis in asked if isinstance(axis, int) and axis != -1] or [1]))
    filled: list[Axis] = []
    for axis in asked:
        if axis != -1:
            filled.append(axis)
        elif missing:
            filled.append(missing.pop())
        else:
            filled.append(tensor.value.width // rest)
    if missing or [axis for axis in filled if isinstance(axis, str)] != named:
        raise NoFormError("it mixes rows and tokens")
    return tuple(filled)


def _all_tokens(asked: list[Axis], tensor: Tensor) -> tuple[Axis, ...] | None:
    """A shape that has all tokens of all rows along one axis, or has had them: `view(-1, n)`."""
    width = tensor.value.width
    if asked[0] == -1 and tensor.axes[:2] == (BATCH, SEQUENCE) and asked[1:] == [width]:
        return TOKENS, width
    if tensor.axes[:1] != (TOKENS,):
        return None
    if asked[:2] in ([BATCH, SEQUENCE], [BATCH, -1], [-1, SEQUENCE]):
        return BATCH, SEQUENCE, *(width if axis == -1 else axis for axis in asked[2:])
    return None


def _expand(reader: Reader, node: ir.Node) -> Known:
    found, sizes = _same(reader, node), reader.given(node.inputs[1])
    if isinstance(found, Size | RowNumbers | tuple) or sizes is None:
        raise NoFormError("a shape is computed")
    if isinstance(found, TokenOfRow):
        return found
    wanted = [1 if size == -1 else size for size in shape_given(sizes)]
    ones: list[Known] = [found]
    values, axes = aligned(ones, reader.signature)
    rank = max(len(axes), len(wanted))
    have = (1,) * (rank - len(axes)) + axes
    want = (1,) * (rank - len(wanted)) + tuple(wanted)
    return _repeated(Tensor(values[0], have), want)


def _tile(reader: Reader, node: ir.Node) -> Known:
    tensor, counts = reader.tensor(node), reader.given(node.inputs[1])
    if counts is None:
        raise NoFormError("a shape is computed")
    return _repeated(tensor, tuple(shape_given(counts)))


def _repeated(tensor: Tensor, counts: tuple[Axis, ...]) -> Tensor:
    """What has axes of 1, along these so many times."""
    value, axes = tensor.value, list(tensor.axes)
    for index, count in reversed(list(enumerate(counts))):
        if count in (1, axes[index]):
            continue
        ahead = [axis for axis in axes[:index] if isinstance(axis, int) and axis != 1]
        if axes[index] != 1 or (ahead and isinstance(count, int)):
            raise NoFormError("it repeats numbers of a token")
        axes[index] = count
        if isinstance(count, int):
            value = made(p.Join, *(value,) * count, width=value.width * count)
    return Tensor(value, tuple(axes))


def _slice(reader: Reader, node: ir.Node) -> Known:
    found = _same(reader, node)
    starts, axes, steps = (
        g.integers(node.inputs[index]) if g.given(node, index) is not None else None
        for index in (1, 3, 4)
    )
    end = reader.given(node.inputs[2])
    if starts is None or len(starts) != 1 or (steps or [1]) != [1]:
        raise NoFormError("it takes several parts or steps")
    axis = (axes or [0])[0]
    if isinstance(found, np.ndarray):
        if starts != [0] or end != Size(SEQUENCE):
            raise NoFormError("it takes another part of a table than its first rows")
        rows = np.moveaxis(found, axis, 0)
        shape: list[Axis] = list(found.shape)
        shape[axis] = SEQUENCE
        return place_table(rows, tuple(shape))
    if not isinstance(found, Tensor) or not isinstance(end, np.ndarray):
        raise NoFormError("where it ends is computed")
    axis = positive(axis, len(found.axes))
    size, stop = found.axes[axis], int(end.ravel()[0])
    left, right = found.axes[:axis], found.axes[axis + 1 :]
    if size == SEQUENCE and (starts[0], stop) in ((-1, 2**63 - 1), (-1, 2**31 - 1), (0, 1)):
        return Tensor(_at(found.value, starts[0]), (*left, 1, *right))
    if not isinstance(size, int):
        raise NoFormError("it takes some rows or tokens of several")
    start, stop, _ = slice(starts[0], stop).indices(size)
    return _part(found, axis, start, stop - start, keep=True)


def _part(tensor: Tensor, axis: int, start: int, size: int, keep: bool) -> Tensor:
    """Some numbers along one of the model's own axes, which has no other wide one before it."""
    before = [a for a in tensor.axes[:axis] if isinstance(a, int) and a != 1]
    after = [a for a in tensor.axes[axis + 1 :] if isinstance(a, int)]
    if before:
        raise NoFormError("it takes numbers out of several places")
    wide = int(np.prod(after or [1]))
    value = _numbers_of(tensor.value, start * wide, size * wide)
    middle = (size,) if keep else ()
    return Tensor(value, (*tensor.axes[:axis], *middle, *tensor.axes[axis + 1 :]))


def _numbers_of(value: Value, start: int, width: int) -> Value:
    """Some numbers of a value; of what was joined, one of its parts."""
    at = 0
    for each in value.inputs if isinstance(value, p.Join) else ():
        if (at, each.width) == (start, width):
            return each
        at += each.width
    return made(p.Part, value, width=width, start=start)


def _at(value: Value, place: int) -> Value:
    """The numbers of the first or last token of each row."""
    where = p.Constant(Per.CALL, 1, numbers=np.array([float(place)]))
    if value.per is Per.PLACE:
        raise NoFormError("it takes one place of a table")
    return p.At(Per.ROW, value.width, (value, where))


def _gather(reader: Reader, node: ir.Node) -> Known:
    source, index = _same(reader, node), reader.given(node.inputs[1])
    axis = node.attributes.get_int("axis", 0)
    if isinstance(source, np.ndarray) and isinstance(index, Tensor):
        axis = positive(axis, source.ndim)
        ahead, behind = source.shape[:axis], source.shape[axis + 1 :]
        if set(ahead) - {1} or index.value.width != 1:
            raise NoFormError("it looks up along another axis than the first")
        table = np.asarray(source, np.float64).reshape(source.shape[axis], -1)
        return Tensor(_looked_up(table, index.value), (*ahead, *index.axes, *behind))
    if not isinstance(source, Tensor) or not isinstance(index, np.ndarray) or index.size != 1:
        raise NoFormError("it picks at places that are computed")
    axis, place = positive(axis, len(source.axes)), int(index.ravel()[0])
    size, keep = source.axes[axis], index.ndim == 1
    if size == SEQUENCE and place in (0, -1):
        middle: tuple[Axis, ...] = (1,) if keep else ()
        left, right = source.axes[:axis], source.axes[axis + 1 :]
        return Tensor(_at(source.value, place), (*left, *middle, *right))
    if not isinstance(size, int):
        raise NoFormError("it picks one of several rows or tokens")
    return _part(source, axis, positive(place, size), 1, keep=keep)


def _looked_up(table: NDArray[np.float64], index: Value) -> Value:
    if isinstance(index, p.Ids):
        return p.Lookup(Per.TOKEN, table.shape[1], (index,), table=table)
    if isinstance(index, p.Constant):
        return p.Constant(Per.CALL, table.shape[1], numbers=table[int(index.numbers[0])])
    if isinstance(index, p.Places) and not index.inputs:
        numbers = index.table.ravel()
        if not (numbers == numbers.astype(int)).all() or not 0 <= numbers.min() <= numbers.max():
            raise NoFormError("it looks up at other numbers than places")
        rows = table[np.minimum(numbers.astype(int), len(table) - 1)]
        return p.Places(Per.PLACE, table.shape[1], table=rows)
    raise NoFormError("it looks up what is computed from the ids")


def _gather_nd(reader: Reader, node: ir.Node) -> Known:
    source, index = reader.tensor(node), reader.one(node, 1, TokenOfRow)
    if node.attributes.get_int("batch_dims", 0) or source.axes[:2] != (SEQUENCE, BATCH):
        raise NoFormError("it picks otherwise than one token of each row")
    value = p.At(Per.ROW, source.value.width, (source.value, index.place.value))
    return Tensor(value, (BATCH, *source.axes[2:]))


def _gather_elements(reader: Reader, node: ir.Node) -> Known:
    source, index = reader.tensor(node), reader.tensor(node, 1)
    axis = positive(node.attributes.get_int("axis", 0), len(source.axes))
    # The same place for every number of a token: one that was expanded.
    place = index.value.inputs[0] if isinstance(index.value, p.Join) else index.value
    if source.axes[axis] != SEQUENCE or place.width != 1 or place.per is not Per.ROW:
        raise NoFormError("it picks otherwise than one token of each row")
    value = p.At(Per.ROW, source.value.width, (source.value, place))
    return Tensor(value, tuple(1 if i == axis else a for i, a in enumerate(source.axes)))


def _concat(reader: Reader, node: ir.Node) -> Known:
    parts = [reader.given(value) for value in node.inputs]
    if any(isinstance(part, RowNumbers) for part in parts):
        places = [part for part in parts if isinstance(part, Tensor)]
        if len(parts) != 2 or len(places) != 1 or not isinstance(parts[1], RowNumbers):
            raise NoFormError("it makes indices of another kind than a token of each row")
        return TokenOfRow(places[0])
    if all(isinstance(part, Size | np.ndarray | tuple) for part in parts):
        return tuple(axis for part in parts if part is not None for axis in shape_given(part))
    rank = max(len(part.axes) for part in parts if isinstance(part, Tensor))
    axis = positive(node.attributes.get_int("axis"), rank)
    tensors = [part for part in parts if isinstance(part, Tensor) and len(part.axes) == rank]
    if len(tensors) != len(parts):
        raise NoFormError("it joins constants to values")
    sizes = [tensor.axes[axis] for tensor in tensors]
    others = {tuple(a for i, a in enumerate(it.axes) if i != axis) for it in tensors}
    ahead = [a for a in tensors[0].axes[:axis] if isinstance(a, int) and a != 1]
    if not all(isinstance(size, int) for size in sizes) or len(others) > 1 or ahead:
        raise NoFormError("it joins rows or tokens")
    values = [tensor.value for tensor in tensors]
    joined = made(p.Join, *values, width=sum(value.width for value in values))
    total = sum(size for size in sizes if isinstance(size, int))
    return Tensor(joined, (*tensors[0].axes[:axis], total, *tensors[0].axes[axis + 1 :]))


def _split(reader: Reader, node: ir.Node) -> list[Known | None]:
    tensor = reader.tensor(node)
    axis = positive(node.attributes.get_int("axis", 0), len(tensor.axes))
    size, count = tensor.axes[axis], len(node.outputs)
    if not isinstance(size, int):
        raise NoFormError("it takes rows or tokens apart")
    given = g.given(node, 1)
    sizes = [size // count] * count if given is None else [int(n) for n in reader.array(node, 1)]
    starts = np.cumsum([0, *sizes])[:-1]
    return [
        _part(tensor, axis, int(start), width, keep=True)
        for start, width in zip(starts, sizes, strict=True)
    ]


def _range(reader: Reader, node: ir.Node) -> Known:
    start, end, step = (reader.given(value) for value in node.inputs)
    if not isinstance(start, np.ndarray) or not isinstance(step, np.ndarray):
        raise NoFormError("it counts from or by what is computed")
    if end == Size(BATCH) and (int(start), int(step)) == (0, 1):
        return RowNumbers()
    if end != Size(SEQUENCE) or int(step) != 1:
        raise NoFormError("it counts to another number than the length")
    numbers = np.arange(reader.signature.max_length) + int(start)
    return place_table(numbers[:, None], (SEQUENCE,))


def _reverse(reader: Reader, node: ir.Node) -> Known:
    tensor, ends = reader.tensor(node), reader.tensor(node, 1)
    time = node.attributes.get_int("time_axis", 0)
    if tensor.axes[time] != SEQUENCE or ends.axes != (BATCH,):
        raise NoFormError("it turns another axis than the tokens of a row")
    return Tensor(_turned(tensor.value, ends.value, {}), tensor.axes)


def _turned(value: Value, ends: Value, seen: dict[int, Value]) -> Value:
    """A value of the rows read backwards; what follows from ids and places is computed anew.

    What was turned so already is as it was before.
    """
    turned: Value
    if value.per in (Per.CALL, Per.ROW):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, p.Turned) and value.inputs[1] is ends:
        turned = value.inputs[0]
    elif isinstance(value, p.Ids | p.Places) and value.inputs not in ((), (ends,)):
        raise NoFormError("it turns what was turned by other lengths")
    elif isinstance(value, p.Ids):
        turned = p.Ids(Per.TOKEN, 1, () if value.inputs else (ends,))
    elif isinstance(value, p.Places):
        per, inputs = (Per.PLACE, ()) if value.inputs else (Per.TOKEN, (ends,))
        turned = p.Places(per, value.width, inputs, table=value.table)
    elif not value.is_known:
        turned = p.Turned(Per.TOKEN, value.width, (value, ends))
    else:
        parts = tuple(_turned(each, ends, seen) for each in value.inputs)
        turned = dataclasses.replace(value, inputs=parts)
    seen[id(value)] = turned
    return turned


def _constant(reader: Reader, node: ir.Node) -> Known:
    array = g.constant(node.outputs[0])
    if array is None:
        raise NoFormError("it holds no numbers")
    return array


def _constant_of_shape(reader: Reader, node: ir.Node) -> Known:
    found = reader.given(node.inputs[0])
    if found is None:
        raise NoFormError("a shape is computed")
    axes = tuple(shape_given(found))
    value = node.attributes.get_tensor("value").numpy() if "value" in node.attributes else 0.0
    own = [axis for axis in axes if isinstance(axis, int)]
    numbers = np.full(int(np.prod(own or [1])), float(np.ravel(value)[0]))
    return Tensor(p.Constant(Per.CALL, numbers.size, numbers=numbers), axes)


MOVING: Mapping[str, Reading] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Identity": _same,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseSequence": _reverse,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""What reads each of them."""
