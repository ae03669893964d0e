"""What every file format offers: its rows in chunks, and the same rows back with more columns.

A reader never holds more than a chunk, so a file may be larger than memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.data.chunk import Chunk, row_at
from pe_deploy.data.lists import Column, ColumnType, ListOf, as_type
from pe_deploy.errors import DataError, line_of
from pe_deploy.view.text import few

LABEL = "label"

_INT64 = np.iinfo(np.int64)
_LONGEST_SHOWN = 40

NOT_AN_INTEGER = "is not an integer; allowed: integers only"
OUTSIDE = f"is outside int64; allowed: {_INT64.min} to {_INT64.max}"

WriteChunk = Callable[[Chunk, Mapping[str, Column]], None]
"""`write(chunk, columns)`: the chunk's rows, with a value of each added column for every row."""

Append = Callable[[Chunk, Sequence[Column]], None]
"""The same for a format: the added columns are in their order, each of its type."""

Types = Sequence[np.dtype[Any] | ListOf]
"""Those of the added columns."""


class RowReader(ABC):
    """One pass over the rows of a file, in order; iterating gives `Chunk`s, none of them empty.

    A format's reader takes the path, the most rows in a chunk, and the stack that closes its file.

    Attributes:
        path: the file.
        columns: its column names (in JSON lines, those of the first row).
    """

    untyped_labels = False
    """True where a file holds text only, so that whether labels are integers is a guess."""

    def __init__(self, path: Path, chunk_rows: int, columns: tuple[str, ...] = ()) -> None:
        self.path = path
        self.chunk_rows = chunk_rows
        self.columns = columns

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: columns {few(self.columns)}>"

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

    @contextmanager
    def writer(self, path: Path, columns: Mapping[str, ColumnType]) -> Iterator[WriteChunk]:
        """Open `path` to write this reader's rows back, unchanged, with columns added.

        An added column whose name the file already uses is called `predicted_<name>`, and the
        file's own is kept. The file at `path` is complete when the context ends without an error;
        writing elsewhere first is the caller's matter.

        Args:
            path: the new file, of the same suffix as the one that is read.
            columns: name and type of each added column: integer, float or text of fixed width, or
                a list of such. In a CSV file the members of a list are joined by `;`; in an .npz
                file those of all rows follow each other, and a column `<name>_lengths` is added.

        Raises:
            DataError: `path` has another suffix.
        """
        ours, theirs = self.path.suffix.lower(), path.suffix.lower()
        if ours != theirs:
            raise DataError(
                # Not the output's name, which may be a temporary one.
                f"{self.path}: output with suffix {theirs!r}; allowed: {ours!r}, as the input"
            )
        types = {
            name: kind if isinstance(kind, ListOf) else np.dtype(kind)
            for name, kind in columns.items()
        }
        names = [self._free_name(name) for name in types]
        with self._writer(path, names, list(types.values())) as append:
            yield lambda chunk, added: append(
                chunk, [as_type(added[name], kind) for name, kind in types.items()]
            )

    @abstractmethod
    def _labels(self, chunk: Chunk) -> list[Any]:
        """The labels as the file has them, not yet checked."""

    @abstractmethod
    def _writer(self, path: Path, names: list[str], types: Types) -> AbstractContextManager[Append]:
        """Open `path`, with these columns added."""

    def _free_name(self, name: str) -> str:
        while name in self.columns:
            name = f"predicted_{name}"
        return name

    def require_column(self, name: str) -> None:
        """Raise a DataError unless exactly one column is called `name`."""
        count = self.columns.count(name)
        if count == 1:
            return
        reason = f"no column {name!r}; its columns: {', '.join(self.columns)}"
        if count:
            reason = f"{count} columns are called {name!r}; allowed: one"
        raise DataError(f"{self.path}: {reason}")

    def int64(
        self, ids: NDArray[Any], offsets: NDArray[np.int64], first_row: int
    ) -> NDArray[np.int64]:
        """Integers of any type as int64; raise a DataError for one that it does not hold."""
        if ids.dtype.kind == "u" and (too_large := ids > _INT64.max).any():
            position = int(np.argmax(too_large))
            raise self.bad_id(first_row + row_at(offsets, position), str(ids[position]), OUTSIDE)
        return ids.astype(np.int64, copy=False)

    def bad_row(self, row: int, reason: str) -> DataError:
        """The error for a row, counted from 1."""
        return DataError(f"{self.path}: row {row}: {reason}")

    def bad_cell(self, row: int, column: str, reason: str) -> DataError:
        """The error for one column of a row, counted from 1."""
        return DataError(f"{self.path}: row {row}, column {column}: {reason}")

    def bad_id(self, row: int, value: str, reason: str = NOT_AN_INTEGER) -> DataError:
        """The error for something among a row's ids that is not an integer, or none of int64."""
        return self.bad_cell(row, INPUT_IDS, f"{shortened(value)} {reason}")


def in_int64(integer: int | str) -> bool:
    """Whether int64 holds an integer, or the one that a text is."""
    try:
        return bool(_INT64.min <= int(integer) <= _INT64.max)
    except ValueError:  # Python refuses to read thousands of digits
        return False


def shortened(text: str) -> str:
    """The text, cut where it would make an error's line long."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


@contextmanager
def reading(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn the errors that a library raises for a damaged file into one line."""
    try:
        yield
    except errors as error:
        raise DataError(f"{path}: not a readable {kind} file: {line_of(error)}") from error
