"""Lists of ids as pandas, numpy and people write them into one cell."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy.data import open_rows
from tests.data.rows import all_ids, error_of, predict

CELLS = {
    "1 2 3": [1, 2, 3],
    "[1, 2, 3]": [1, 2, 3],
    "[1 2 3]": [1, 2, 3],
    "[ 1  2\n 3]": [1, 2, 3],
    "1,2,3": [1, 2, 3],
    " 1, 2, 3 ": [1, 2, 3],
    "(1, 2, 3)": [1, 2, 3],
    "(7,)": [7],
    "[7]": [7],
    "7": [7],
    "[np.int64(1), np.int64(-2)]": [1, -2],
    "[]": [],
    "": [],
}


def cells(folder: Path, suffix: str, texts: list[str]) -> Path:
    path = folder / f"in.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"input_ids": texts}), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"input_ids": text}) + "\n" for text in texts))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["x", "input_ids"], *(["a", text] for text in texts)])
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_way_is_read_and_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    source = cells(tmp_path, suffix, list(CELLS))
    assert all_ids(source, 4) == list(CELLS.values())
    with open_rows(predict(source, tmp_path / f"out.{suffix}")) as reader:
        assert reader.columns[-2:] == ("label", "probability")
        assert [ids.tolist() for chunk in reader for ids in chunk.rows()] == list(CELLS.values())


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("[1, 2.0]", "'2.0' is not an integer"),
        ("[1, , 2]", "'' is not an integer"),
        ("[1, 2 3]", "'2 3' is not an integer"),
        ("[[1, 2], [3]]", "'[1' is not an integer"),
        ("[1, None]", "'None' is not an integer"),
        ("[1, 2", "'[1' is not an integer"),
        (f"[{2**63}]", f"{2**63} is outside int64"),
        ("[1 2 ... 8 9]", "'...' is not an integer"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_no_list_of_integers_is_named(
    tmp_path: Path, suffix: str, cell: str, reason: str
) -> None:
    source = cells(tmp_path, suffix, ["1 2", cell])
    error = error_of(source).replace('"', "'")  # JSON's own quotes
    assert error.startswith(f"row 2, column input_ids: {reason}")
    assert ("was cut when it was printed" in error) == ("..." in cell)
