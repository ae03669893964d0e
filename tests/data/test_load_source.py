from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pe_deploy.data import digits, load
from pe_deploy.errors import DataError, InvalidInputError
from tests.data.rows import write_rows


def _csv(folder: Path, *rows: str) -> Path:
    path = folder / "rows.csv"
    path.write_text("\n".join(["input_ids,label", *rows]), encoding="utf-8")
    return path


def _of_labels(folder: Path, suffix: str, labels: Any) -> Path:
    return write_rows(folder / f"rows{suffix}", input_ids=[[1, 2]] * len(labels), label=labels)


def test_rows_of_one_length(tmp_path: Path) -> None:
    dataset = load(_csv(tmp_path, "4 5 6,dog", "7 8 9,ant", "1 2 3,dog"))
    assert dataset.input_ids.dtype == dataset.targets.dtype == np.int64
    assert dataset.input_ids.tolist() == [[4, 5, 6], [7, 8, 9], [1, 2, 3]]
    assert dataset.labels == ("ant", "dog")
    assert dataset.targets.tolist() == [1, 0, 1]
    assert dataset.pad_id is None


def test_short_rows_are_padded_on_the_right(tmp_path: Path) -> None:
    dataset = load(_csv(tmp_path, "4,0", "7 8 9,1", "5 6 3,0", "2 3 3,1"), pad_id=3)
    assert dataset.input_ids.tolist() == [[4, 3, 3], [7, 8, 9], [5, 6, 3], [2, 3, 3]]
    assert dataset.pad_id == 3


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], (-1, 9, 10)),
        (["10", "09", "0"], ("0", "09", "10")),
        (["1", "2", "x"], ("1", "2", "x")),
        (["1.0", "2"], (1, 2)),
        (["1.5", "2"], ("1.5", "2")),
        (["true", "False"], (0, 1)),
        (["true", "x"], ("true", "x")),
        (["٣", "4"], ("4", "٣")),
        (["9" * 5000, "4"], ("4", "9" * 5000)),
    ],
)
def test_csv_labels_are_integers_where_all_are_plain_integers(
    tmp_path: Path, labels: list[str], expected: tuple[Any, ...]
) -> None:
    assert load(_csv(tmp_path, *(f"1,{label}" for label in labels))).labels == expected


@pytest.mark.parametrize(
    ("suffix", "labels", "expected"),
    [
        (".jsonl", [3, 1], (1, 3)),
        (".jsonl", ["3", "1"], ("1", "3")),
        (".npz", np.array([3, 1], ">u2"), (1, 3)),
        (".npz", np.array(["b", "a"]), ("a", "b")),
        (".npz", np.array([True, False]), (0, 1)),
        (".npz", np.array([3.0, 1.0], np.float32), (1, 3)),
        (".jsonl", [True, 0.0], (0, 1)),
        (".parquet", pa.array([True, False]), (0, 1)),
        (".parquet", pa.array([3, 1], pa.int8()), (1, 3)),
        (".parquet", pa.array([3.0, 1.0]), (1, 3)),
        (".parquet", pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
    ],
)
def test_labels_keep_the_type_the_file_gives(
    tmp_path: Path, suffix: str, labels: Any, expected: tuple[Any, ...]
) -> None:
    dataset = load(str(_of_labels(tmp_path, suffix, labels)))
    assert dataset.labels == expected
    assert [type(label) for label in dataset.labels] == [type(label) for label in expected]
    assert dataset.targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("suffix", "labels", "error"),
    [
        (".jsonl", [0, None], "row 2, column label: the label is missing; fill it in, or leave"),
        (".jsonl", ["a", None, "NA"], "row 2, column label: the label is missing, as 1 more are"),
        (".jsonl", [0, 1.5], "row 2, column label: 1.5 is no label"),
        (".jsonl", ["a", ""], "row 2, column label: the label is missing"),
        (".jsonl", [[1], 2], r"row 1, column label: \[1\] is no label"),
        (".jsonl", [None, None], "row 1, column label: the label is missing"),
        (".jsonl", [0, "a"], "row 2, column label: 'a' is not of the type of row 1's 0"),
        (".jsonl", [4, 4], "column label: every row has 4; allowed: at least two labels"),
        (".npz", np.array([1, np.nan]), "row 2, column label: the label is missing"),
        (".npz", np.array([b"a", b"b"]), "row 1, column label: b'a' is no label"),
        (".npz", np.ones((2, 1), int), r"column label is of shape \(2, 1\); allowed: \(2,\)"),
        (".npz", np.array(["a", 1], object), "column label holds Python objects"),
        (".parquet", pa.array([1, None]), "row 2, column label: the label is missing"),
    ],
)
def test_labels_that_cannot_be_trained_on(
    tmp_path: Path, suffix: str, labels: Any, error: str
) -> None:
    with pytest.raises(DataError, match=error):
        load(_of_labels(tmp_path, suffix, labels))


@pytest.mark.parametrize(
    ("rows", "pad_id", "error"),
    [
        (["1 2,0", "3 4,1", "5,0"], None, "row 3, column input_ids: 1 ids where row 1 has 2; "),
        (["1 2,0", ",1"], 0, "row 2, column input_ids: no ids; allowed: at least one"),
        (["1 2,0", "3 -4,1"], 0, "row 2, column input_ids: -4 is negative; allowed: 0 or more"),
        ([], None, "the file has no rows"),
    ],
)
def test_rows_that_cannot_be_trained_on(
    tmp_path: Path, rows: list[str], pad_id: int | None, error: str
) -> None:
    path = _csv(tmp_path, *rows)
    with pytest.raises(DataError) as caught:
        load(path, pad_id=pad_id)
    assert str(caught.value).startswith(f"{path}: {error}")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_are_needed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_text("input_ids,x\n1,2\n" if suffix == "csv" else '{"input_ids": [1], "x": 2}')
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: no column 'label'; its columns: input_ids, x"


def test_built_in_sets_by_name() -> None:
    assert np.array_equal(load("digits").input_ids, digits().input_ids)
    assert load("digits", pad_id=17).pad_id == 17


@pytest.mark.parametrize("name", ["digit", "synthetic"])
def test_other_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name)
    assert str(caught.value) == (
        f"{name}: no such data; allowed: digits or a data file "
        "('synthetic' and 'languages' only to train on)"
    )


def test_a_folder_is_no_data(tmp_path: Path) -> None:
    for name in ("rows", "rows.csv"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=f"{name}: "):
            load(tmp_path / name)


def test_a_negative_pad_id_is_a_wrong_setting() -> None:
    with pytest.raises(InvalidInputError, match="pad_id is -1; allowed: 0 or more"):
        load("digits", pad_id=-1)
