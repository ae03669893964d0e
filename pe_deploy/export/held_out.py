"""Rows of the data, on which the decisions of a model are judged before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pe_deploy.config import Label, Signature
from pe_deploy.data import Dataset, load, open_rows
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.export.source import LabelledRows
from pe_deploy.text.encoder import TextEncoder

Data = str | Path | Dataset | TextDataset
"""A file, or rows in memory."""

_MOST_ROWS = 512


class HeldOut(NamedTuple):
    """What there is to judge decisions on.

    Attributes:
        labels: those stated, else those of the data; None where there are neither.
        rows: ids with the class of each; None without data.
        texts: the texts that they are the ids of, if they are.
    """

    labels: Sequence[Label] | None
    rows: LabelledRows | None = None
    texts: tuple[str, ...] = ()


def held_out(
    data: Data | None,
    signature: Signature,
    labels: Sequence[Label] | None,
    encoder: TextEncoder | None = None,
) -> HeldOut:
    """Rows with the class of each, as far as there are data.

    Of a task other than classes the ids alone are read, whose labels no file has a column for.

    Raises:
        DataError: the file cannot be read, has other labels than the model tells apart, or a text
            that it does not take.
    """
    if data is None:
        return HeldOut(labels)
    texts: tuple[str, ...] = ()
    if isinstance(data, TextDataset):
        part = data.take(np.arange(min(len(data), _MOST_ROWS)))
        texts = tuple(part.texts)
        data = _encoded(part, encoder)
    if signature.task != "classes":
        return HeldOut(labels, _ids_of(data, signature), texts)
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
    return HeldOut(known, LabelledRows(rows.input_ids, index[rows.targets]), texts)


def _encoded(data: TextDataset, encoder: TextEncoder | None) -> Dataset:
    if encoder is None:
        raise DataError("the data are texts; state a tokenizer, which makes ids of them")
    try:
        ids = encoder(list(data.texts))
    except InvalidInputError as error:
        row = "" if error.row is None else f"row {error.row + 1}: "
        raise DataError(f"the data: {row}{error.reason}") from error
    return Dataset(ids, data.targets, data.labels, encoder.signature.pad_id)


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
