"""What every file format offers: its rows in chunks, and the same rows back with more columns.

A reader never holds more than a chunk, so a file may be larger than memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.errors import DataError

LABEL = "label"
READ_ROWS = 4096

_LOWEST_ID, _HIGHEST_ID = -(2**63), 2**63 - 1
_LONGEST_SHOWN = 40


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

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        """The ids as int64 `[rows, length]`, or as one array a row where lengths differ."""
        lengths = np.diff(self.offsets)
        if (lengths == lengths[0]).all():
            return self.values.reshape(len(self), int(lengths[0]))
        return [self.values[start:stop] for start, stop in pairwise(self.offsets.tolist())]


WriteChunk = Callable[[Chunk, Mapping[str, NDArray[Any]]], None]
"""`write(chunk, columns)`: the chunk's rows, with a value of each added column for every row."""


class RowReader(ABC):
    """One pass over the rows of a file, in order; iterating gives `Chunk`s, none of them empty.

    Attributes:
        path: the file.
        columns: its column names (in JSON lines, those of the first row).
    """

    untyped_labels = False
    """True where a file holds text only, so that whether labels are integers is a guess."""

    def __init__(self, path: Path, columns: tuple[str, ...], chunk_rows: int) -> None:
        self.path = path
        self.columns = columns
        self.chunk_rows = chunk_rows

    @abstractmethod
    def __iter__(self) -> Iterator[Chunk]:
        """Read on from where the last chunk ended.

        Raises:
            DataError: naming the row, the column and the value that cannot be read.
        """

    def labels(self, chunk: Chunk) -> list[Label]:
        """The label of each row of a chunk that this reader gave.

        Raises:
            DataError: there is no column `label`, or a row's label is neither an integer nor text.
        """
        self.require_column(LABEL)
        labels = self._labels(chunk)
        for row, label in enumerate(labels, chunk.first_row):
            # By exact type: a bool is an int to Python. An empty text is a missing label.
            if type(label) not in (int, str) or label == "":
                reason = f"{shortened(repr(label))} is no label; allowed: an integer or text"
                raise self.bad_cell(row, LABEL, reason)
        return labels

    def writer(
        self, path: Path, columns: Mapping[str, DTypeLike]
    ) -> AbstractContextManager[WriteChunk]:
        """Open `path` to write this reader's rows back, unchanged, with columns added.

        An added column whose name the file already uses is called `predicted_<name>`, and the
        file's own is kept. The file at `path` is complete when the context ends without an error;
        writing elsewhere first is the caller's matter.

        Args:
            path: the new file, of the same suffix as the one that is read.
            columns: name and dtype of each added column: integer, float or text of fixed width.

        Raises:
            DataError: `path` has another suffix.
        """
        ours, theirs = self.path.suffix.lower(), path.suffix.lower()
        if ours != theirs:
            raise DataError(
                # Not the output's name, which may be a temporary one.
                f"{self.path}: output with suffix {theirs!r}; allowed: {ours!r}, as the input"
            )
        dtypes = {name: np.dtype(dtype) for name, dtype in columns.items()}
        return self._writer(path, dtypes, [self._free_name(name) for name in dtypes])

    @abstractmethod
    def _labels(self, chunk: Chunk) -> list[Any]:
        """The labels as the file has them, not yet checked."""

    @abstractmethod
    def _writer(
        self, path: Path, dtypes: dict[str, np.dtype[Any]], names: list[str]
    ) -> AbstractContextManager[WriteChunk]:
        """Open `path`; the column `dtypes` lists in place `i` is called `names[i]` there."""

    def _free_name(self, name: str) -> str:
        while name in self.columns:
            name = f"predicted_{name}"
        return name

    def require_column(self, name: str) -> None:
        """Raise a DataError unless exactly one column is called `name`."""
        count = self.columns.count(name)
        if count == 0:
            raise DataError(
                f"{self.path}: no column {name!r}; its columns: {', '.join(self.columns)}"
            )
        if count > 1:
            raise DataError(f"{self.path}: {count} columns are called {name!r}; allowed: one")

    def bad_row(self, row: int, reason: str) -> DataError:
        """The error for a row, counted from 1."""
        return DataError(f"{self.path}: row {row}: {reason}")

    def bad_cell(self, row: int, column: str, reason: str) -> DataError:
        """The error for one column of a row, counted from 1."""
        return DataError(f"{self.path}: row {row}, column {column}: {reason}")

    def bad_id(self, row: int, value: str) -> DataError:
        """The error for something among a row's ids that is not an integer."""
        reason = f"{shortened(value)} is not an integer; allowed: integers only"
        return self.bad_cell(row, INPUT_IDS, reason)

    def id_too_large(self, row: int, value: str) -> DataError:
        """The error for an integer among a row's ids that int64 does not hold."""
        reason = f"{shortened(value)} is outside int64; allowed: {_LOWEST_ID} to {_HIGHEST_ID}"
        return self.bad_cell(row, INPUT_IDS, reason)


def in_int64(value: int) -> bool:
    """Whether int64 holds the value."""
    return _LOWEST_ID <= value <= _HIGHEST_ID


def shortened(text: str) -> str:
    """The text, cut where it would make an error's line long."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
