"""Some consecutive rows of a file: the ids of all of them in one array, and where each row lies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of a file.

    Attributes:
        first_row: the number of its first row; a file's rows are counted from 1, its header and
            blank lines are not rows.
        values: int64 `[ids in all rows]`, the rows' ids one after the other.
        offsets: int64 `[rows + 1]`; row `i` is `values[offsets[i]:offsets[i + 1]]`, maybe empty.
        records: the rows as their format holds them, for its reader and writer alone.
        done: the share of the file read so far, 0 to 1.
    """

    first_row: int
    values: NDArray[np.int64]
    offsets: NDArray[np.int64]
    records: Any
    done: float

    def __repr__(self) -> str:
        last = self.first_row + len(self) - 1
        return f"<Chunk: rows {self.first_row:,} to {last:,}, {len(self.values):,} ids>"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        """The ids as int64 `[rows, length]`, or as one array a row where lengths differ."""
        lengths = np.diff(self.offsets)
        if (lengths == lengths[0]).all():
            return self.values.reshape(len(self), int(lengths[0]))
        return [self.values[start:stop] for start, stop in pairwise(self.offsets.tolist())]


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of the given lengths start, and where the last one ends: int64 `[rows + 1]`."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def row_at(offsets: NDArray[np.int64], position: int) -> int:
    """The row, counted from 0, that holds the id at a position among the ids of all rows."""
    return int(np.searchsorted(offsets, position, side="right")) - 1
