"""A file of rows, and how it is to be read: what options of a command say, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data.columns import Columns
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.loading import Note, load, load_texts
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import DataError


@dataclass(frozen=True)
class DataFile:
    """A file of rows of ids, or of texts; see `load` and `load_texts`.

    Attributes:
        path: the file; or `"digits"`.
        columns: the names of its columns, where they are not the usual ones.
        delimiter: what separates the cells of a CSV file, where its header does not show it.
        drop_missing: whether rows whose label is missing are left out.
    """

    path: str | Path
    columns: Columns = Columns()  # noqa: RUF009 (it is frozen)
    delimiter: str | None = None
    drop_missing: bool = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def of_texts(self) -> bool:
        """Whether it holds texts in place of ids."""
        if str(self.path) == "digits":
            return False
        with open_rows(self.path, columns=self.columns, delimiter=self.delimiter) as reader:
            return reader.of_texts

    def rows(self, pad_id: int | None, note: Note | None = None) -> Dataset:
        """Its rows of ids with their labels; as `load` gives and raises."""
        return load(
            self.path,
            pad_id=pad_id,
            columns=self.columns,
            delimiter=self.delimiter,
            drop_missing=self.drop_missing,
            note=note,
        )

    def texts(self, note: Note | None = None) -> TextDataset:
        """Its texts with their labels; as `load_texts` gives and raises."""
        return load_texts(
            self.path,
            columns=self.columns,
            delimiter=self.delimiter,
            drop_missing=self.drop_missing,
            note=note,
        )

    def unlabelled(self, most: int, pad_id: int | None) -> NDArray[np.int64] | list[str]:
        """Its first rows, up to so many, without labels: ids `[rows, longest]`, or texts.

        Raises:
            DataError: it cannot be read, or rows differ in length although there is no `pad_id`.
        """
        with open_rows(self.path, columns=self.columns, delimiter=self.delimiter) as reader:
            if reader.of_texts:
                return list(islice(chain.from_iterable(c.texts or () for c in reader), most))
            rows = list(islice(chain.from_iterable(chunk.rows() for chunk in reader), most))
        ids = np.full((len(rows), max(map(len, rows), default=0)), pad_id or 0, np.int64)
        for number, row in enumerate(rows):
            if len(row) != ids.shape[1] and pad_id is None:
                raise DataError(f"{self}: row {number + 1} has {len(row)} ids; state --pad-id")
            ids[number, : len(row)] = row
        return ids
