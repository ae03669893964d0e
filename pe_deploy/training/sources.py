"""The rows of a run: found, sized, and checked against the model they are to train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.data import Dataset, load, synthetic
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.model_config import ModelConfig
from pe_deploy.runtime import to_input_ids

Source = str | Path | Dataset
"""`"synthetic"`, `"digits"`, the path of a file, or the rows themselves."""


def draw_synthetic(config: ModelConfig) -> Dataset:
    """The notebook's 40 random rows, drawn from torch's global generator."""

    def draw(high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = torch.randint(0, high, shape).numpy()
        return drawn

    return synthetic(draw, length=config.max_length, vocab_size=config.vocab_size)


def load_rows(source: Source, pad_id: int | None) -> Dataset:
    """The rows that `source` names; a `Dataset` may bring its own `pad_id`.

    Raises:
        InvalidInputError: `pad_id` is another one than the dataset's own.
        DataError: a file cannot be read.
    """
    if not isinstance(source, Dataset):
        return load(source, pad_id=pad_id)
    if pad_id is None or pad_id == source.pad_id:
        return source
    if source.pad_id is not None:
        raise InvalidInputError(
            f"pad_id is {pad_id}; allowed: {source.pad_id}, which pads the dataset's rows"
        )
    return replace(source, pad_id=pad_id)


def sizes_of(*datasets: Dataset) -> tuple[int, int]:
    """One more than the largest id, padding included, and the columns of the widest dataset."""
    ids = [int(dataset.input_ids.max(initial=0)) for dataset in datasets]
    padding = [dataset.pad_id for dataset in datasets if dataset.pad_id is not None]
    return max(ids + padding) + 1, max(dataset.input_ids.shape[1] for dataset in datasets)


def check_rows(rows: Dataset, config: ModelConfig, name: str) -> None:
    """Check that a model of these sizes takes every row.

    Raises:
        DataError: there is none, or one does not fit: `name` (a file, say) and the row, counted
            from 1 as in files, are named.
    """
    if len(rows) == 0:
        raise DataError(f"{name}: has 0 rows; allowed: at least 1")
    try:
        to_input_ids(rows.input_ids, config.signature)
    except InvalidInputError as error:
        where = name if error.row is None else f"{name}: row {error.row + 1}"
        raise DataError(f"{where}: {error.reason}") from error
