"""A data source, by name or by path, as a labelled set in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.data.built_in import digits
from pe_deploy.data.chunk import offsets_of, row_at
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.reader import LABEL, RowReader
from pe_deploy.errors import DataError, InvalidInputError

_PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def load(source: str | Path, *, pad_id: int | None = None) -> Dataset:
    """Load `"digits"` or a file with the columns `input_ids` and `label`.

    The labels of the set are those of the rows, each once and sorted. In a CSV file, which has no
    types, they are integers if every one of them is written as a plain integer (`7`, not `007`).

    Args:
        source: `"digits"`, or the path of a `.csv`, `.jsonl`, `.parquet` or `.npz` file.
        pad_id: the id to pad short rows with, on the right; without it all rows have one length.
            That rows do not use it for anything else is checked where a model takes them.

    Raises:
        InvalidInputError: `pad_id` is negative.
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
        dataset = digits()
    elif Path(source).suffix:
        dataset = _load_file(Path(source), pad_id)
    else:
        raise DataError(
            f"{source}: no such data; allowed: digits or a data file "
            "('synthetic' only to train on: training draws it)"
        )
    return replace(dataset, pad_id=pad_id)


def _load_file(path: Path, pad_id: int | None) -> Dataset:
    values: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    given: list[Label] = []
    with open_rows(path) as reader:
        for chunk in reader:
            values.append(chunk.values)
            lengths.append(np.diff(chunk.offsets))
            given += reader.labels(chunk)
    if not given:
        raise DataError(f"{path}: the file has no rows")
    if reader.untyped_labels and all(_PLAIN_INTEGER.fullmatch(str(label)) for label in given):
        given = [int(label) for label in given]
    input_ids = _matrix(reader, np.concatenate(values), np.concatenate(lengths), pad_id)
    labels = _distinct(reader, given)
    index = {label: position for position, label in enumerate(labels)}
    targets = np.fromiter((index[label] for label in given), np.int64, len(given))
    return Dataset(input_ids, targets, labels)


def _distinct(reader: RowReader, given: list[Label]) -> tuple[Label, ...]:
    for row, label in enumerate(given, 1):
        if type(label) is not type(given[0]):
            reason = f"{label!r} is not of the type of row 1's {given[0]!r}"
            raise reader.bad_cell(row, LABEL, f"{reason}; allowed: all integers or all text")
    labels = tuple(sorted(set(given)))
    if len(labels) < 2:
        raise DataError(
            f"{reader.path}: column {LABEL}: every row has {given[0]!r}; "
            "allowed: at least two labels"
        )
    return labels


def _matrix(
    reader: RowReader, values: NDArray[np.int64], lengths: NDArray[np.int64], pad_id: int | None
) -> NDArray[np.int64]:
    """The rows as int64 `[rows, length]`, short ones padded on the right."""
    if not lengths.all():
        row = int(np.argmin(lengths)) + 1
        raise reader.bad_cell(row, INPUT_IDS, "no ids; allowed: at least one")
    if (values < 0).any():
        position = int(np.argmax(values < 0))
        row = row_at(offsets_of(lengths), position) + 1
        reason = f"{values[position]} is negative; allowed: 0 or more"
        raise reader.bad_cell(row, INPUT_IDS, reason)
    differs = lengths != lengths[0]
    if pad_id is None and differs.any():
        row = int(np.argmax(differs)) + 1
        reason = f"{lengths[row - 1]} ids where row 1 has {lengths[0]}"
        raise reader.bad_cell(row, INPUT_IDS, f"{reason}; rows of differing length need a pad_id")
    matrix = np.full((len(lengths), int(lengths.max())), pad_id or 0, np.int64)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = values
    return matrix
