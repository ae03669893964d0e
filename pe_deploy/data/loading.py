"""A data source, by name or by path, as a labelled set in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.data.built_in import digits
from pe_deploy.data.chunk import Chunk, offsets_of, row_at
from pe_deploy.data.columns import TEXT, Columns
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.labels import of_untyped
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.reader import RowReader
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import DataError, InvalidInputError

LARGEST_PADDED = 2**34
"""The most bytes of the ids of a set, once short rows are padded."""

Note = Callable[[str], None]
"""Called with a line on what was done that was not plainly asked for."""


def load(
    source: str | Path,
    *,
    pad_id: int | None = None,
    columns: Columns = Columns(),  # noqa: B008 (it is frozen)
    delimiter: str | None = None,
    drop_missing: bool = False,
    note: Note | None = None,
) -> Dataset:
    """Load `"digits"` or a file with a column of ids and one of labels.

    The labels of the set are those of the rows, each once and sorted. Whole floats are integers,
    booleans are 0 and 1, and empty cells, null, `nan`, `NaN`, `NA`, `N/A`, `None` and `<NA>` are
    missing. In a CSV file, which has no types, labels are integers if every one of them is written
    as one (`7` or `7.0`, not `007`) or as `true` or `false`.

    Args:
        source: `"digits"`, or the path of a file that `open_rows` takes.
        pad_id: the id to pad short rows with, on the right; without it all rows have one length.
            That rows do not use it for anything else is checked where a model takes them.
        columns: the names of the columns, where they are not `input_ids` and `label`.
        delimiter: what separates the cells of a CSV file, where its header does not show it.
        drop_missing: leave out rows whose label is missing.
        note: called with a line that says how many these were.

    Raises:
        InvalidInputError: `pad_id` is negative, or as `open_rows` raises it.
        DataError: the file cannot be read, or a row is empty, has a negative id, or has another
            length than the first although there is no `pad_id`; or labels are missing, of mixed
            types, or fewer than two.
        MissingDependencyError: the source needs an extra that is not installed.

    >>> load("models/demo-held-out.csv").input_ids.shape
    (359, 64)
    """
    if pad_id is not None and pad_id < 0:
        raise InvalidInputError(f"pad_id is {pad_id}; allowed: 0 or more")
    if str(source) == "digits":
        return replace(digits(), pad_id=pad_id)
    columns = Columns(ids=columns.ids or INPUT_IDS, label=columns.label)
    values: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []

    def take(chunk: Chunk) -> None:
        values.append(chunk.values)
        lengths.append(np.diff(chunk.offsets))

    reader, labelled = _labelled(source, columns, delimiter, take, drop_missing, note)
    ids = np.concatenate(values), np.concatenate(lengths)
    input_ids = _matrix(reader, *ids, pad_id, labelled.kept)
    return Dataset(input_ids, labelled.targets, labelled.labels, pad_id)


def load_texts(
    source: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008 (it is frozen)
    delimiter: str | None = None,
    drop_missing: bool = False,
    note: Note | None = None,
) -> TextDataset:
    """Load a file with a column of texts and one of labels, which are as `load` takes them.

    Args:
        source: the path of a file that `open_rows` takes.
        columns: the names of the columns, where they are not `text` and `label`.
        delimiter: as in `load`.
        drop_missing: as in `load`.
        note: as in `load`.

    Raises:
        InvalidInputError: as `open_rows` raises it.
        DataError: the file cannot be read, or a text is missing; or labels are missing, of mixed
            types, or fewer than two.
        MissingDependencyError: the source needs an extra that is not installed.
    """
    columns = Columns(text=columns.text or TEXT, label=columns.label)
    texts: list[str] = []

    def take(chunk: Chunk) -> None:
        texts.extend(chunk.texts or ())

    _, labelled = _labelled(source, columns, delimiter, take, drop_missing, note)
    kept = [texts[row] for row in labelled.kept.tolist()]
    return TextDataset(kept, labelled.targets, labelled.labels)


@dataclass(frozen=True)
class _Labelled:
    """The rows that have a label, counted from 0, its index in the labels, and these."""

    kept: NDArray[np.int64]
    targets: NDArray[np.int64]
    labels: tuple[Label, ...]


def _labelled(
    source: str | Path,
    columns: Columns,
    delimiter: str | None,
    take: Callable[[Chunk], None],
    drop_missing: bool,
    note: Note | None,
) -> tuple[RowReader, _Labelled]:
    """All rows of a file: their chunks are taken, their labels are read."""
    path = Path(source)
    if not path.suffix:
        raise DataError(
            f"{source}: no such data; allowed: digits or a data file "
            "('synthetic' and 'languages' only to train on)"
        )
    given: list[Label | None] = []
    with open_rows(path, columns=columns, delimiter=delimiter) as reader:
        for chunk in reader:
            take(chunk)
            given += reader.labels(chunk)
    if reader.untyped_labels:
        given = of_untyped(given)
    kept = [row for row, label in enumerate(given) if label is not None]
    if missing := len(given) - len(kept):
        _tell_missing(reader, given.index(None), missing, drop_missing, note)
    if not kept:
        raise DataError(f"{path}: the file has no rows{' with a label' if given else ''}")
    labels = [label for label in given if label is not None]
    distinct = _distinct(reader, labels, kept)
    index = {label: position for position, label in enumerate(distinct)}
    targets = np.fromiter((index[label] for label in labels), np.int64, len(labels))
    return reader, _Labelled(np.array(kept), targets, distinct)


def _tell_missing(
    reader: RowReader, first: int, missing: int, drop_missing: bool, note: Note | None
) -> None:
    if not drop_missing:
        more = f", as {missing - 1} more are" if missing > 1 else ""
        reason = (
            f"the label is missing{more}; fill it in, or leave such rows out with --drop-missing"
        )
        raise reader.bad_cell(first + 1, reader.how.columns.label, reason)
    if note is not None:
        rows = "row" if missing == 1 else "rows"
        note(f"{reader.path}: {missing:,} {rows} without a label dropped, first row {first + 1}")


def _distinct(reader: RowReader, labels: list[Label], rows: list[int]) -> tuple[Label, ...]:
    column = reader.how.columns.label
    for row, label in zip(rows, labels, strict=True):
        if type(label) is not type(labels[0]):
            reason = f"{label!r} is not of the type of row {rows[0] + 1}'s {labels[0]!r}"
            reason = f"{reason}; allowed: all integers or all text"
            raise reader.bad_cell(row + 1, column, reason)
    distinct = tuple(sorted(set(labels)))
    if len(distinct) < 2:
        raise DataError(
            f"{reader.path}: column {column}: every row has {labels[0]!r}; "
            "allowed: at least two labels"
        )
    return distinct


def _matrix(
    reader: RowReader,
    values: NDArray[np.int64],
    lengths: NDArray[np.int64],
    pad_id: int | None,
    kept: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Those rows that are kept as int64 `[rows, length]`, short ones padded on the right."""
    if len(kept) != len(lengths):
        is_kept = np.zeros(len(lengths), bool)
        is_kept[kept] = True
        values, lengths = values[np.repeat(is_kept, lengths)], lengths[is_kept]
    numbers = kept + 1
    if not lengths.all():
        row = int(numbers[np.argmin(lengths)])
        raise reader.bad_cell(row, reader.column, "no ids; allowed: at least one")
    if (values < 0).any():
        position = int(np.argmax(values < 0))
        row = int(numbers[row_at(offsets_of(lengths), position)])
        reason = f"{values[position]} is negative; allowed: 0 or more"
        raise reader.bad_cell(row, reader.column, reason)
    differs = lengths != lengths[0]
    if pad_id is None and differs.any():
        first = int(np.argmax(differs))
        reason = f"{lengths[first]} ids where row {numbers[0]} has {lengths[0]}"
        reason = f"{reason}; rows of differing length need a pad_id"
        raise reader.bad_cell(int(numbers[first]), reader.column, reason)
    longest = int(lengths.max())
    if (size := 8 * longest * len(lengths)) > LARGEST_PADDED:
        reason = f"{longest:,} ids, to which {len(lengths):,} rows would be padded: {size:,} bytes"
        reason = f"{reason}; allowed: {LARGEST_PADDED:,} or fewer"
        raise reader.bad_cell(int(numbers[np.argmax(lengths)]), reader.column, reason)
    matrix = np.full((len(lengths), longest), pad_id or 0, np.int64)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = values
    return matrix
