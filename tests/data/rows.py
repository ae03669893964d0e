"""What the tests of every file format do with a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError


def write_rows(path: Path, **columns: Any) -> Path:
    """A file of these columns, in the format that its suffix names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".npz":
        arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
        np.savez(path, **arrays)
    elif path.suffix == ".jsonl":
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        cells = {**columns, "input_ids": [" ".join(map(str, ids)) for ids in columns["input_ids"]]}
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([cells, *zip(*cells.values(), strict=True)])
    return path


def predict(source: Path, target: Path, chunk_rows: int = 2) -> Path:
    """Score a file row by row: label "odd" or "even" by a row's length, probability 0.9."""
    names = np.array(["even", "odd"])
    added: dict[str, Any] = {"label": names.dtype, "probability": np.float32}
    with (
        open_rows(source, chunk_rows=chunk_rows) as reader,
        reader.writer(target, added) as write,
    ):
        for chunk in reader:
            odd = np.diff(chunk.offsets) % 2
            write(chunk, {"label": names[odd], "probability": np.full(len(odd), 0.9)})
    return target


def all_ids(path: Path, chunk_rows: int = 3) -> list[list[int]]:
    """Every row of a file, read in chunks of the given size."""
    rows: list[Any] = []
    with open_rows(path, chunk_rows=chunk_rows) as reader:
        for chunk in reader:
            assert chunk.first_row == len(rows) + 1
            assert 0 < len(chunk) <= chunk_rows
            rows.extend(row.tolist() for row in chunk.rows())
    return rows


def error_of(source: Path, chunk_rows: int = 2) -> str:
    """Why a file cannot be read to its end: the line of the error, without the file's path."""
    with pytest.raises(DataError) as caught, open_rows(source, chunk_rows=chunk_rows) as reader:
        for chunk in reader:
            chunk.rows()
    path, _, reason = str(caught.value).partition(f"{source}: ")
    assert path == ""
    return reason
