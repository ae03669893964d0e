"""A data source, by name or by path, as a labelled set in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, Label
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.digits import digits
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.ragged import offsets_of, row_at
from pe_deploy.data.reader import LABEL
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
    labels: list[Label] = []
    with open_rows(path) as reader:
        for chunk in reader:
            values.append(chunk.values)
            lengths.append(np.diff(chunk.offsets))
            labels.extend(reader.labels(chunk))
    if not labels:
        raise DataError(f"{path}: the file has no rows")
    if reader.untyped_labels:
        labels = _as_integers(labels)
    input_ids = _matrix(path, np.concatenate(values), np.concatenate(lengths), pad_id)
    distinct = _distinct(path, labels)
    index = {label: position for position, label in enumerate(distinct)}
    targets = np.fromiter((index[label] for label in labels), np.int64, len(labels))
    return Dataset(input_ids, targets, distinct)


def _as_integers(labels: list[Label]) -> list[Label]:
    if all(_PLAIN_INTEGER.fullmatch(str(label)) for label in labels):
        return [int(label) for label in labels]
    return labels


def _distinct(path: Path, labels: list[Label]) -> tuple[Label, ...]:
    for row, label in enumerate(labels, 1):
        if type(label) is not type(labels[0]):
            raise DataError(
                f"{path}: row {row}, column {LABEL}: {label!r} is not of the type of row 1's "
                f"{labels[0]!r}; allowed: all integers or all text"
            )
    distinct = tuple(sorted(set(labels)))
    if len(distinct) < 2:
        raise DataError(
            f"{path}: column {LABEL}: every row has {labels[0]!r}; allowed: at least two labels"
        )
    return distinct


def _matrix(
    path: Path, values: NDArray[np.int64], lengths: NDArray[np.int64], pad_id: int | None
) -> NDArray[np.int64]:
    """The rows as int64 `[rows, length]`, short ones padded on the right."""
    if not lengths.all():
        row = int(np.argmin(lengths)) + 1
        raise DataError(f"{path}: row {row}, column {INPUT_IDS}: no ids; allowed: at least one")
    if (values < 0).any():
        position = int(np.argmax(values < 0))
        row = row_at(offsets_of(lengths), position) + 1
        raise DataError(
            f"{path}: row {row}, column {INPUT_IDS}: {values[position]} is negative; "
            "allowed: 0 or more"
        )
    differs = lengths != lengths[0]
    if pad_id is None and differs.any():
        row = int(np.argmax(differs)) + 1
        raise DataError(
            f"{path}: row {row}, column {INPUT_IDS}: {lengths[row - 1]} ids where row 1 has "
            f"{lengths[0]}; rows of differing length need a pad_id"
        )
    matrix = np.full((len(lengths), int(lengths.max())), pad_id or 0, np.int64)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = values
    return matrix
