"""Files with texts in place of ids, in each format, and the sets that they are loaded as."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy.data import Columns, load, load_texts, open_rows
from pe_deploy.errors import DataError

TEXTS = ["guten Tag", "good, day", 'a "q"\nline', "", "NA"]
LABELS = ["de", "en", "en", "de", "en"]


def write(path: Path, **columns: Any) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]
    elif path.suffix == ".jsonl":
        rows = zip(*columns.values(), strict=True)
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[*columns], *zip(*columns.values(), strict=True)])
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_texts_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / f"in.{suffix}", text=TEXTS, label=LABELS)
    with open_rows(source, chunk_rows=2) as reader:
        assert (reader.of_texts, reader.column) == (True, "text")
        chunks = list(reader)
    assert [chunk.first_row for chunk in chunks] == [1, 3, 5]
    assert [text for chunk in chunks for text in chunk.given()] == TEXTS
    dataset = load_texts(source)
    assert dataset.texts == tuple(TEXTS)
    assert dataset.labels == ("de", "en")
    assert dataset.targets.tolist() == [0, 1, 1, 0, 1]


def test_ids_are_read_where_there_are_both_and_texts_where_that_is_stated(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", text=["a", "b"], input_ids=[[1], [2]], label=[0, 1])
    with open_rows(source) as reader:
        assert not reader.of_texts
    with open_rows(source, columns=Columns(text="text")) as reader:
        assert [chunk.texts for chunk in reader] == [["a", "b"]]
    assert load_texts(source).texts == ("a", "b")
    assert load(source).input_ids.tolist() == [[1], [2]]


def test_columns_with_other_names(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", body=["x", "y"], kind=["1", "0"])
    dataset = load_texts(source, columns=Columns(text="body", label="kind"))
    assert (dataset.texts, dataset.labels) == (("x", "y"), (0, 1))
    with pytest.raises(DataError, match=r"in.csv: no column 'text'; its columns: body, kind$"):
        load_texts(source)
    source = write(tmp_path / "in.jsonl", tokens=[[1], [2]], kind=[True, False])
    assert load(source, columns=Columns(ids="tokens", label="kind")).targets.tolist() == [1, 0]


def test_a_line_of_a_text_file_is_a_row(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"\xef\xbb\xbfguten Tag\r\n\r\n a,b \r\nlast")
    with open_rows(source, chunk_rows=3) as reader:
        assert [chunk.texts for chunk in reader] == [["guten Tag", "", " a,b "], ["last"]]
    with pytest.raises(DataError, match="no column 'label'; its columns: text"):
        load_texts(source)


@pytest.mark.parametrize(
    ("suffix", "texts", "error"),
    [
        (".jsonl", ["a", None], "row 2, column text: null is no text; allowed: text"),
        (".jsonl", [7, "a"], "row 1, column text: 7 is no text; allowed: text"),
        (".parquet", ["a", None], "row 2, column text: null is no text; allowed: text"),
        (".parquet", [1, 2], "column text is of type int64; allowed: text"),
        (".npz", [1, 2], r"column text is int64 of shape \(2,\); allowed: text of shape \[rows\]"),
    ],
)
def test_what_is_no_text_is_named(
    tmp_path: Path, suffix: str, texts: list[Any], error: str
) -> None:
    source = write(tmp_path / f"in{suffix}", text=texts, label=LABELS[:2])
    with pytest.raises(DataError, match=error):
        load_texts(source)


@pytest.mark.parametrize(
    ("suffix", "labels"),
    [
        (".csv", ["1.0", "nan", "0.0", "", "1.0"]),
        (".csv", ["True", "N/A", "False", "<NA>", "True"]),
        (".jsonl", [1, None, 0, float("nan"), True]),
        (".parquet", [1.0, None, 0.0, float("nan"), 1.0]),
        (".npz", [1.0, np.nan, 0.0, np.nan, 1.0]),
    ],
)
def test_rows_without_a_label_are_dropped_where_that_is_asked(
    tmp_path: Path, suffix: str, labels: list[Any]
) -> None:
    source = write(tmp_path / f"in{suffix}", text=TEXTS, label=labels)
    notes: list[str] = []
    dataset = load_texts(source, drop_missing=True, note=notes.append)
    assert dataset.texts == (TEXTS[0], TEXTS[2], TEXTS[4])
    assert (dataset.labels, dataset.targets.tolist()) == ((0, 1), [1, 0, 1])
    assert notes == [f"{source}: 2 rows without a label dropped, first row 2"]
    with pytest.raises(DataError) as caught:
        load_texts(source)
    assert str(caught.value) == (
        f"{source}: row 2, column label: the label is missing, as 1 more are; "
        "fill it in, or leave such rows out with --drop-missing"
    )


def test_dropped_rows_of_ids_count_where_an_error_is(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.csv", input_ids=["1 2", "5", "3 4", "5"], label=["a", "", "b", "a"]
    )
    with pytest.raises(DataError, match="row 4, column input_ids: 1 ids where row 1 has 2"):
        load(source, drop_missing=True)
    assert load(source, drop_missing=True, pad_id=0).input_ids.tolist() == [[1, 2], [3, 4], [5, 0]]
    write(source, input_ids=["1"], label=["NA"])
    with pytest.raises(DataError, match=r"in.csv: the file has no rows with a label$"):
        load(source, drop_missing=True)
