"""Rows of differing length as one flat array and the offsets of each row in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of the given lengths start, and where the last one ends: int64 `[rows + 1]`."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def row_at(offsets: NDArray[np.int64], position: int) -> int:
    """The row, counted from 0, that holds the id at a position among the ids of all rows."""
    return int(np.searchsorted(offsets, position, side="right")) - 1
