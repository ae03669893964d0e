"""What every file format offers: its rows in chunks, and the same rows back with more columns.

A reader never holds more than a chunk, so a file may be larger than memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.data.chunk import Chunk, offsets_of, row_at
from pe_deploy.data.columns import TEXT, Columns
from pe_deploy.data.labels import label_of
from pe_deploy.data.lists import Column, ColumnType, ListOf, as_type
from pe_deploy.data.suffix import suffix_of
from pe_deploy.data.written_ids import Notation
from pe_deploy.errors import DataError, line_of
from pe_deploy.view.text import few

READ_ROWS = 4096
"""The most rows in a chunk, where no other number is asked for."""

_INT64 = np.iinfo(np.int64)
_LONGEST_SHOWN = 40

NOT_AN_INTEGER = "is not an integer; allowed: integers only"
OUTSIDE = f"is outside int64; allowed: {_INT64.min} to {_INT64.max}"

WriteChunk = Callable[[Chunk, Mapping[str, Column]], None]
"""`write(chunk, columns)`: the chunk's rows, with a value of each added column for every row."""

Append = Callable[[Chunk, Sequence[Column]], None]
"""The same for a format: the added columns are in their order, each of its type."""

Ids = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The ids of rows, one row after the other, and their offsets, as `Chunk` has them."""

Types = Sequence[np.dtype[Any] | ListOf]
"""Those of the added columns."""


class How(NamedTuple):
    """How a file is read.

    Attributes:
        chunk_rows: the most rows in a chunk.
        columns: the names of the columns that are read.
        delimiter: what separates the cells of a CSV file; None, and its header shows it.
        tolerant: whether a row whose ids or text cannot be read is noted in `Chunk.errors`, where
            else that is raised.
    """

    chunk_rows: int
    columns: Columns
    delimiter: str | None
    tolerant: bool


class RowReader(ABC):
    """One pass over the rows of a file, in order; iterating gives `Chunk`s, none of them empty.

    A format's reader takes the path, how to read it, and the stack that closes its file.

    Attributes:
        path: the file.
        columns: its column names (in JSON lines, those of the first row).
        column: the one that holds ids or texts.
        of_texts: whether it holds texts.
    """

    untyped_labels = False
    """True where a file holds text only, so that whether labels are integers is a guess."""

    def __init__(self, path: Path, how: How) -> None:
        self.path = path
        self.how = how
        self.columns: tuple[str, ...] = ()
        stated = how.columns
        self.of_texts = stated.text is not None and stated.ids is None
        self.column = stated.ids or stated.text or INPUT_IDS

    def _found(self, columns: Sequence[str]) -> None:
        """Take the file's column names, and choose among them what is not stated."""
        self.columns = tuple(columns)
        stated = self.how.columns
        if stated.ids is None and stated.text is None and INPUT_IDS not in columns:
            self.of_texts = TEXT in columns
            self.column = TEXT if self.of_texts else INPUT_IDS
        self.require_column(self.column)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: columns {few(self.columns)}>"

    @abstractmethod
    def __iter__(self) -> Iterator[Chunk]:
        """Read on from where the last chunk ended.

        Raises:
            DataError: naming the row, the column and the value that cannot be read.
        """

    def labels(self, chunk: Chunk) -> list[Label | None]:
        """The label of each row of a chunk that this reader gave; None where it is missing.

        Raises:
            DataError: there is no such column, or a row's label is neither an integer nor text.
        """
        column = self.how.columns.label
        self.require_column(column)
        labels: list[Label | None] = []
        for row, label in enumerate(self._labels(chunk), chunk.first_row):
            try:
                labels.append(label_of(label))
            except ValueError:
                reason = f"{shortened(repr(label))} is no label; allowed: an integer or text"
                raise self.bad_cell(row, column, reason) from None
        return labels

    @contextmanager
    def writer(
        self, path: Path, columns: Mapping[str, ColumnType], suffix: str | None = None
    ) -> Iterator[WriteChunk]:
        """Open `path` to write this reader's rows back, unchanged, with columns added.

        An added column whose name the file already uses is called `predicted_<name>`, and the
        file's own is kept. The file at `path` is complete when the context ends without an error;
        writing elsewhere first is the caller's matter.

        Args:
            path: the new file.
            columns: name and type of each added column: integer, float or text of fixed width, or
                a list of such. In a CSV file the members of a list are joined by `;`; in an .npz
                file those of all rows follow each other, and a column `<name>_lengths` is added.
            suffix: what the new file is, by default by its name: what the one that is read is, or
                one of `allowed_suffixes`.

        Raises:
            DataError: it is to be something else.
        """
        suffix = suffix_of(path) if suffix is None else suffix
        if suffix not in self.allowed_suffixes:
            allowed = ", ".join(map(repr, self.allowed_suffixes))
            raise DataError(  # without the output's name, which may be a temporary one
                f"{self.path}: output with suffix {suffix!r}; allowed: {allowed}{self._why}"
            )
        types = {
            name: kind if isinstance(kind, ListOf) else np.dtype(kind)
            for name, kind in columns.items()
        }
        names = [self._free_name(name) for name in types]
        with self._writer(path, suffix, names, list(types.values())) as append:
            yield lambda chunk, added: append(
                chunk, [as_type(added[name], kind) for name, kind in types.items()]
            )

    @abstractmethod
    def _labels(self, chunk: Chunk) -> list[Any]:
        """The labels as the file has them, not yet checked."""

    @abstractmethod
    def _writer(
        self, path: Path, suffix: str, names: list[str], types: Types
    ) -> AbstractContextManager[Append]:
        """Open `path`, of this suffix, with these columns added."""

    @property
    def allowed_suffixes(self) -> tuple[str, ...]:
        """What the rows can be written back as."""
        return (suffix_of(self.path),)

    _why = ", as the input"

    def _free_name(self, name: str) -> str:
        while name in self.columns:
            name = f"predicted_{name}"
        return name

    def require_column(self, name: str) -> None:
        """Raise a DataError unless exactly one column is called `name`."""
        count = self.columns.count(name)
        if count == 1:
            return
        stated = "" if name != INPUT_IDS else "; state the one that holds ids, or text"
        reason = f"no column {name!r}; its columns: {', '.join(self.columns)}{stated}"
        if count:
            reason = f"{count} columns are called {name!r}; allowed: one"
        raise DataError(f"{self.path}: {reason}")

    def listed_ids(
        self, rows: list[list[Any]], notation: Notation, first_row: int, errors: dict[int, str]
    ) -> Ids:
        """The ids of rows that are lists of what should be integers.

        Raises:
            DataError: naming the first that is none, or none of int64; or it is in `errors`.
        """
        try:
            return _joined(rows, notation)
        except (ValueError, OverflowError):
            for index, ids in enumerate(rows):
                reasons = (_reason(value, notation) for value in ids)
                reason = next(filter(None, reasons), None)
                if reason is not None:
                    self.flaw(errors, first_row, index, reason)
                    rows[index] = []
            return _joined(rows, notation)

    def int64(
        self,
        ids: NDArray[Any],
        offsets: NDArray[np.int64],
        first_row: int,
        errors: dict[int, str],
    ) -> Ids:
        """Ids that are integers of any type as int64.

        Raises:
            DataError: naming the first that it does not hold; or it is in `errors`.
        """
        if ids.dtype.kind == "u" and (too_large := ids > _INT64.max).any():
            for position in np.flatnonzero(too_large).tolist():
                index = row_at(offsets, position)
                self.flaw(errors, first_row, index, f"{ids[position]} {OUTSIDE}")
            ids, offsets = without_bad(ids, offsets, errors)
        return ids.astype(np.int64, copy=False), offsets

    def bad_row(self, row: int, reason: str) -> DataError:
        """The error for a row, counted from 1."""
        return DataError(f"{self.path}: row {row}: {reason}")

    def bad_cell(self, row: int, column: str, reason: str) -> DataError:
        """The error for one column of a row, counted from 1."""
        return DataError(f"{self.path}: row {row}, column {column}: {reason}")

    def flaw(self, errors: dict[int, str], first_row: int, index: int, reason: str) -> None:
        """Raise what is wrong with the ids or the text of a row, or note it where that is asked.

        Args:
            errors: those of the chunk, to which it is added.
            first_row: the number of the chunk's first row.
            index: the row's place in the chunk, counted from 0.
            reason: what is wrong, and what is allowed.
        """
        if not self.how.tolerant:
            raise self.bad_cell(first_row + index, self.column, reason)
        errors.setdefault(index, f"column {self.column}: {reason}")


def _joined(rows: list[list[Any]], notation: Notation) -> Ids:
    offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
    return np.fromiter(notation.integers(rows), np.int64, int(offsets[-1])), offsets


def _reason(value: Any, notation: Notation) -> str | None:
    """What is wrong with a member of a list of ids, if anything is."""
    if not notation.is_integer(value):
        cut = "" if value != "..." else "; the list was cut when it was printed: save all of it"
        return f"{shortened(notation.shown(value))} {NOT_AN_INTEGER}{cut}"
    return None if in_int64(value) else f"{shortened(str(value))} {OUTSIDE}"


def without_bad(
    values: NDArray[Any], offsets: NDArray[np.int64], errors: Mapping[int, str]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The ids of some rows without those of the rows that have an error."""
    lengths, bad = np.diff(offsets), np.fromiter(errors, np.int64, len(errors))
    kept = np.ones(len(lengths), bool)
    kept[bad] = False
    values = values[np.repeat(kept, lengths)]
    return values, offsets_of(np.where(kept, lengths, 0))


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
