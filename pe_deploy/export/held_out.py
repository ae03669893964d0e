"""Rows of the data, on which the decisions of a model are judged before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from pe_deploy.config import Label, Signature
from pe_deploy.data import Dataset, load, open_rows
from pe_deploy.errors import DataError
from pe_deploy.export.source import LabelledRows

_MOST_ROWS = 512


def held_out(
    data: str | Path | Dataset, signature: Signature, labels: Sequence[Label] | None
) -> tuple[LabelledRows, tuple[Label, ...]]:
    """Rows with the class of each, and the labels: those stated, else those of the data.

    Of a task other than classes the ids alone are read, whose labels no file has a column for.

    Raises:
        DataError: the file cannot be read, or has other labels than the model tells apart.
    """
    if signature.task != "classes":
        return _ids_of(data, signature), tuple(labels or range(signature.num_labels))
    rows = data if isinstance(data, Dataset) else load(data, pad_id=signature.pad_id)
    known = tuple(rows.labels if labels is None else labels)
    where = "the data" if isinstance(data, Dataset) else str(data)
    if len(known) != signature.num_labels:
        raise DataError(
            f"{where} has {len(known)} labels; the model tells {signature.num_labels} apart, so "
            "state --labels in the order of its classes"
        )
    if unknown := [label for label in rows.labels if label not in known]:
        raise DataError(f"{where} has the label {unknown[0]!r}; allowed: {list(known)}")
    index = np.array([known.index(label) for label in rows.labels])
    return LabelledRows(rows.input_ids, index[rows.targets]), known


def _ids_of(data: str | Path | Dataset, signature: Signature) -> LabelledRows:
    if isinstance(data, Dataset):
        return LabelledRows(data.input_ids, None)
    with open_rows(Path(data)) as reader:
        rows = list(islice(chain.from_iterable(chunk.rows() for chunk in reader), _MOST_ROWS))
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), signature.pad_id or 0, np.int64)
    for number, row in enumerate(rows):
        if len(row) != longest and signature.pad_id is None:
            raise DataError(f"{data}: row {number + 1} has {len(row)} ids; state --pad-id")
        ids[number, : len(row)] = row
    return LabelledRows(ids, None)
