"""What a graph's values are while it is read: numbers with axes, sizes, constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import SEQUENCE, Signature
from pe_deploy.export.c.program import Constant, Length, Per, Places, Value

Axis = str | int
"""`BATCH`, `SEQUENCE` or `TOKENS`, or how many numbers lie along an axis of the model's own."""

TOKENS = "tokens"
"""All tokens of the first row, then of the second, and so on."""


class NoFormError(Exception):
    """Why something in a graph has no form in C."""


@dataclass(frozen=True)
class Tensor:
    """A value, and the axes that the graph has for it; those of the model's own are its width."""

    value: Value
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        if prod(self.own) != self.value.width:
            raise NoFormError(f"axes {self.axes} do not hold {self.value.width} numbers")

    @property
    def own(self) -> list[int]:
        """The sizes of the model's own axes."""
        return [axis for axis in self.axes if isinstance(axis, int)]


@dataclass(frozen=True)
class Size:
    """The size of the batch or of the sequence, as a number."""

    axis: str


@dataclass(frozen=True)
class RowNumbers:
    """0, 1, 2, … along the batch."""


@dataclass(frozen=True)
class TokenOfRow:
    """The indices of one token of each row: its place, a value per row."""

    place: Tensor


Sizes = tuple[Axis, ...]
"""A shape that the graph computes."""

Known = Tensor | Size | RowNumbers | TokenOfRow | Sizes | NDArray[Any]


def place_table(rows: NDArray[Any], axes: tuple[Axis, ...]) -> Tensor:
    """A table with a row for each place."""
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    return Tensor(Places(Per.PLACE, flat.shape[1], table=flat), axes)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def aligned(
    operands: Sequence[Known], signature: Signature
) -> tuple[list[Value], tuple[Axis, ...]]:
    """The values of what is combined number by number, and the axes of the result.

    As numpy broadcasts. An operand has as many numbers as the result, or one for all.
    """
    shapes = [_axes_of(operand) for operand in operands]
    rank = max(map(len, shapes))
    shapes = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    axes = tuple(_common(dims, signature) for dims in zip(*shapes, strict=True))
    own = [axis for axis in axes if isinstance(axis, int)]
    return [
        _spread(operand, shape, axes, own) for operand, shape in zip(operands, shapes, strict=True)
    ], axes


def _axes_of(operand: Known) -> tuple[Axis, ...]:
    if isinstance(operand, Tensor):
        return operand.axes
    if isinstance(operand, np.ndarray):
        return operand.shape
    if isinstance(operand, Size) and operand.axis == SEQUENCE:
        return ()
    raise NoFormError(f"a {type(operand).__name__} is counted with")


def _common(dims: Sequence[Axis], signature: Signature) -> Axis:
    """The axis that several broadcast to."""
    found = {dim for dim in dims if dim != 1}
    fixed = signature.min_length == signature.max_length
    if SEQUENCE in found and fixed:
        found.discard(signature.max_length)
    if len(found) > 1:
        raise NoFormError(f"axes {' and '.join(map(str, dims))} are combined")
    return found.pop() if found else 1


def _spread(
    operand: Known, shape: tuple[Axis, ...], axes: tuple[Axis, ...], own: list[int]
) -> Value:
    if isinstance(operand, Size):
        return Length(Per.CALL, 1)
    # Of the operand, its sizes along the model's own axes of the result.
    sizes = [size for size, axis in zip(shape, axes, strict=True) if isinstance(axis, int)]
    if isinstance(operand, Tensor):
        if prod(operand.own) != 1 and sizes != own:
            raise NoFormError(f"{operand.own} numbers are combined with {own}")
        return operand.value
    assert isinstance(operand, np.ndarray)  # noqa: S101 - the others are sorted out by _axes_of
    array = np.asarray(operand, np.float64).reshape([int(size) for size in shape])
    if SEQUENCE in axes and array.shape[axes.index(SEQUENCE)] > 1:
        rows = np.moveaxis(array, axes.index(SEQUENCE), 0)
        return place_table(
            np.broadcast_to(rows.reshape(len(rows), *sizes), (len(rows), *own)), (SEQUENCE, *own)
        ).value
    array = array.reshape([int(size) for size in sizes])
    if array.size != 1:
        array = np.broadcast_to(array, own)
    return Constant(Per.CALL, array.size, numbers=array.ravel())


def shape_given(sizes: Known) -> list[Axis]:
    """A shape as a list: numbers, `BATCH` and `SEQUENCE`."""
    if isinstance(sizes, np.ndarray):
        return [int(size) for size in sizes.ravel()]
    if isinstance(sizes, tuple):
        return list(sizes)
    if isinstance(sizes, Size):
        return [sizes.axis]
    raise NoFormError("a shape is computed")
