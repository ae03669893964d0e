"""Labelled rows of ids, in memory, ready to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Label


@dataclass(frozen=True)
class Dataset:
    """Rows of token ids and the label of each.

    Attributes:
        input_ids: int64 `[rows, length]`; rows are right-padded with `pad_id` where they differ.
        targets: int64 `[rows]`, the index of each row's label in `labels`.
        labels: the labels themselves, in the order of the model's classes.
        pad_id: the id that pads short rows, or None where all rows have one length.
    """

    input_ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    labels: tuple[Label, ...]
    pad_id: int | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """The given rows, in the given order."""
        return Dataset(self.input_ids[rows], self.targets[rows], self.labels, self.pad_id)
