"""A column that holds a list for each row, as the labels of a row's tokens."""

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


Column = NDArray[Any] | Lists
"""The values of a column for some rows."""

ColumnType = DTypeLike | ListOf
"""An integer, a float or text of fixed width, or a list of one of these."""


def type_of(column: Column) -> np.dtype[Any] | ListOf:
    """The type of a column that has these values."""
    return ListOf(column.members.dtype) if isinstance(column, Lists) else column.dtype


def as_type(column: Column, kind: np.dtype[Any] | ListOf) -> Column:
    """The same values in a column of this type."""
    if isinstance(column, Lists) and isinstance(kind, ListOf):
        return Lists(np.asarray(column.members, kind.dtype), column.offsets)
    return np.asarray(column, kind)
