"""Some consecutive rows of a file: their texts, or the ids of all in one array, and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64] | list[NDArray[np.int64]]
"""Ids `[rows, length]`, or an array a row where lengths differ."""


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
        texts: a text for each row, where the file has texts; then no row has ids.
        errors: why a row, counted from 0, cannot be read, where that was not to be raised; it has
            no ids, or an empty text.
    """

    first_row: int
    values: NDArray[np.int64]
    offsets: NDArray[np.int64]
    records: Any
    done: float
    texts: list[str] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_texts(
        cls,
        first_row: int,
        texts: list[str],
        records: Any,
        done: float,
        errors: Mapping[int, str] | None = None,
    ) -> Chunk:
        """Rows that are texts."""
        offsets = np.zeros(len(texts) + 1, np.int64)
        return cls(first_row, offsets[:0], offsets, records, done, texts, errors or {})

    def __repr__(self) -> str:
        last = self.first_row + len(self) - 1
        what = f"{len(self.values):,} ids" if self.texts is None else "texts"
        return f"<Chunk: rows {self.first_row:,} to {last:,}, {what}>"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> Rows:
        """The ids as int64 `[rows, length]`, or as one array a row where lengths differ."""
        lengths = np.diff(self.offsets)
        if (lengths == lengths[0]).all():
            return self.values.reshape(len(self), int(lengths[0]))
        return [self.values[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    def given(self) -> Rows | list[str]:
        """What a model is given: the ids, or the texts."""
        return self.rows() if self.texts is None else self.texts

    def some(self, indices: Sequence[int]) -> list[NDArray[np.int64]] | list[str]:
        """What it is given of some rows, counted from 0."""
        if self.texts is not None:
            return [self.texts[index] for index in indices]
        starts, stops = self.offsets[:-1].tolist(), self.offsets[1:].tolist()
        return [self.values[starts[index] : stops[index]] for index in indices]


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of the given lengths start, and where the last one ends: int64 `[rows + 1]`."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def row_at(offsets: NDArray[np.int64], position: int) -> int:
    """The row, counted from 0, that holds the id at a position among the ids of all rows."""
    return int(np.searchsorted(offsets, position, side="right")) - 1
