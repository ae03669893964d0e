"""Columns that are no plain arrays: a list for each row, or a value for some rows only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pe_deploy.data.chunk import offsets_of


class ListOf(NamedTuple):
    """The type of such a column: that of the lists' members."""

    dtype: np.dtype[Any]


class Lists(NamedTuple):
    """The lists of some rows.

    Attributes:
        members: `[members in all rows]`, one list after the other.
        offsets: int64 `[rows + 1]`; row `i` has `members[offsets[i]:offsets[i + 1]]`, maybe none.
    """

    members: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]], dtype: DTypeLike) -> Lists:
        """One list a row, of these members."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(np.concatenate([np.empty(0, dtype), *rows]).astype(dtype), offsets_of(lengths))

    def cut(self, members: Sequence[Any]) -> list[Sequence[Any]]:
        """Something that there is for each member, as a list a row."""
        return [members[start:stop] for start, stop in pairwise(self.offsets.tolist())]


class Sparse(NamedTuple):
    """A column in which some rows have no value.

    Attributes:
        values: those of the rows that have one.
        present: bool `[rows]`, which these are.
    """

    values: NDArray[Any] | Lists
    present: NDArray[np.bool_]

    def spread(self, values: Sequence[Any]) -> list[Any]:
        """Something that there is for each value, as a list a row, None where there is none."""
        each = iter(values)
        return [next(each) if present else None for present in self.present.tolist()]


Full = NDArray[Any] | Lists
"""A value of a column for every row."""

Column = Full | Sparse
"""The values of a column for some rows."""

ColumnType = DTypeLike | ListOf
"""An integer, a float, text (`str` where its width is not known), or a list of one of these."""


def type_of(column: Column) -> np.dtype[Any] | ListOf:
    """The type of a column that has these values."""
    if isinstance(column, Sparse):
        return type_of(column.values)
    return ListOf(column.members.dtype) if isinstance(column, Lists) else column.dtype


def as_type(column: Column, kind: np.dtype[Any] | ListOf) -> Column:
    """The same values in a column of this type."""
    if isinstance(column, Sparse):
        values = as_type(column.values, kind)
        return column if isinstance(values, Sparse) else Sparse(values, column.present)
    if isinstance(column, Lists) and isinstance(kind, ListOf):
        return Lists(np.asarray(column.members, kind.dtype), column.offsets)
    return np.asarray(column, kind)


def joined(parts: Sequence[Full]) -> Full:
    """One column of several that follow each other."""
    arrays = [part for part in parts if not isinstance(part, Lists)]
    if arrays:
        return np.concatenate(arrays)
    lists = [part for part in parts if isinstance(part, Lists)]
    lengths = np.concatenate([np.diff(part.offsets) for part in lists])
    return Lists(np.concatenate([part.members for part in lists]), offsets_of(lengths))
