"""Rows of the data, on which the decisions of a model are judged before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Label, Signature
from pe_deploy.data import DataFile, Dataset, TextDataset
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.export.source import LabelledRows
from pe_deploy.text.encoder import TextEncoder

_MOST_ROWS = 512

Data = str | Path | DataFile | Dataset | TextDataset
"""A file, or rows in memory."""


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

    Of a task other than classes the rows alone are read, whose labels no file has a column for.

    Raises:
        DataError: the file cannot be read, has other labels than the model tells apart, or a text
            that it does not take.
    """
    if data is None:
        return HeldOut(labels)
    where = "the data" if isinstance(data, Dataset | TextDataset) else str(data)
    given = DataFile(data) if isinstance(data, str | Path) else data
    if signature.task != "classes":
        if isinstance(given, DataFile):
            rows = given.unlabelled(_MOST_ROWS, signature.pad_id)
        else:
            rows = given.input_ids if isinstance(given, Dataset) else list(given.texts)
        if isinstance(rows, list):
            texts = tuple(rows[:_MOST_ROWS])
            return HeldOut(labels, LabelledRows(_encoded(texts, encoder, where), None), texts)
        return HeldOut(labels, LabelledRows(rows, None))
    loaded = given
    if isinstance(loaded, DataFile):
        loaded = loaded.texts() if loaded.of_texts else loaded.rows(signature.pad_id)
    known = tuple(loaded.labels if labels is None else labels)
    if len(known) != signature.num_labels:
        raise DataError(
            f"{where} has {len(known)} labels; the model tells {signature.num_labels} apart, so "
            "state --labels in the order of its classes"
        )
    if unknown := [label for label in loaded.labels if label not in known]:
        raise DataError(f"{where} has the label {unknown[0]!r}; allowed: {list(known)}")
    targets = np.array([known.index(label) for label in loaded.labels])[loaded.targets]
    if isinstance(loaded, Dataset):
        return HeldOut(known, LabelledRows(loaded.input_ids, targets))
    texts = tuple(loaded.texts[:_MOST_ROWS])
    ids = _encoded(texts, encoder, where)
    return HeldOut(known, LabelledRows(ids, targets[:_MOST_ROWS]), texts)


def _encoded(texts: Sequence[str], encoder: TextEncoder | None, where: str) -> NDArray[np.int64]:
    if encoder is None:
        raise DataError(f"{where}: the rows are texts; state a tokenizer, which makes ids of them")
    try:
        return encoder(list(texts))
    except InvalidInputError as error:
        row = "" if error.row is None else f"row {error.row + 1}: "
        raise DataError(f"{where}: {row}{error.reason}") from error
