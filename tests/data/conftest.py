from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy.data import open_rows

Predict = Callable[..., Path]
AllIds = Callable[..., list[list[int]]]


@pytest.fixture
def predict() -> Predict:
    """Score a file row by row: label "odd" or "even" by a row's length, probability 0.9."""

    def run(source: Path, target: Path, chunk_rows: int = 2) -> Path:
        names = np.array(["even", "odd"])
        added: dict[str, np.dtype[Any]] = {
            "label": names.dtype,
            "probability": np.dtype(np.float32),
        }
        with (
            open_rows(source, chunk_rows=chunk_rows) as reader,
            reader.writer(target, added) as write,
        ):
            for chunk in reader:
                odd = np.diff(chunk.offsets) % 2
                write(chunk, {"label": names[odd], "probability": np.full(len(odd), 0.9)})
        return target

    return run


@pytest.fixture
def all_ids() -> AllIds:
    """Every row of a file, read in chunks of the given size."""

    def read(path: Path, chunk_rows: int = 3) -> list[list[int]]:
        rows: list[Any] = []
        with open_rows(path, chunk_rows=chunk_rows) as reader:
            for chunk in reader:
                assert chunk.first_row == len(rows) + 1
                assert 0 < len(chunk) <= chunk_rows
                rows.extend(row.tolist() for row in chunk.rows())
        return rows

    return read
