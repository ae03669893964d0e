"""What `predict` adds to a file, for each task and in each format."""

from __future__ import annotations

import csv
import json
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pe_deploy import DataError
from pe_deploy.config import Label
from pe_deploy.data import open_rows
from pe_deploy.data.lists import ListOf, Lists
from pe_deploy.runtime.predict_file import predict_file
from tests.data.rows import write_rows
from tests.runtime.tasks import TOYS, Toy, ToyClassifier

FORMATS = ["csv", "jsonl", "parquet", "npz"]
PADDED = [[8, 5, 0, 0, 0, 0], [5, 8, 6, 6, 5, 5], [8, 3, 7, 0, 0, 0], [6, 5, 5, 8, 0, 0]]
NAMES = ["a", "b", "c", "d"]


def predicted(toy: Toy, folder: Path, suffix: str, **columns: Any) -> Path:
    """The file that `predict` makes of one with these columns."""
    source, output = folder / f"in.{suffix}", folder / f"out.{suffix}"
    write_rows(source, input_ids=PADDED, **(columns or {"name": NAMES}))
    assert predict_file(ToyClassifier(toy), source, output) == (len(PADDED), 0)
    return output


def read(path: Path) -> dict[str, list[Any]]:
    """The columns of a file, lists as lists, CSV's numbers still text."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            columns = {name: arrays[name].tolist() for name in arrays.files}
        for name in [name for name in columns if name.endswith("_lengths")]:
            lengths, members = columns.pop(name), iter(columns[name.removesuffix("_lengths")])
            cut = [list(islice(members, length)) for length in lengths]
            columns[name.removesuffix("_lengths")] = cut
        return columns
    if path.suffix == ".parquet":
        return dict(pq.read_table(path).to_pydict())
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def lists(cells: list[Any], kind: type) -> list[list[Any]]:
    """Lists out of cells, which in CSV are text."""
    split = (cell.split(";") if isinstance(cell, str) else cell for cell in cells)
    return [[kind(member) for member in members if member != ""] for members in split]


@pytest.mark.parametrize("suffix", FORMATS)
def test_tokens_get_lists(tmp_path: Path, suffix: str) -> None:
    toy = TOYS["tokens"]
    columns = read(predicted(toy, tmp_path, suffix))
    assert list(columns) == ["input_ids", "name", "labels", "probabilities"]
    assert columns["name"] == NAMES
    labels, probabilities = ToyClassifier(toy).predict_with_probability(PADDED)
    assert lists(columns["labels"], str) == [each.tolist() for each in labels]
    assert lists(columns["probabilities"], float) == [each.tolist() for each in probabilities]
    assert [len(each) for each in lists(columns["labels"], str)] == [2, 6, 3, 4]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["multilabel", "one label"])
def test_several_labels_get_a_list_and_a_probability_each(
    tmp_path: Path, suffix: str, name: str
) -> None:
    toy = TOYS[name]
    columns = read(predicted(toy, tmp_path, suffix))
    each = [f"probability_{label}" for label in toy.labels]
    assert list(columns) == ["input_ids", "name", "labels", *each]
    classifier = ToyClassifier(toy)
    answers = classifier.predict(PADDED)
    assert lists(columns["labels"], type(toy.labels[0])) == [list(row) for row in answers]
    assert [] in lists(columns["labels"], str) or name == "one label"
    for column, expected in zip(each, classifier.predict_proba(PADDED).T, strict=True):
        assert [float(cell) for cell in columns[column]] == expected.tolist()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("name", "names"),
    [("regression", ["value"]), ("numbers", ["value_width", "value_height"])],
)
def test_numbers_get_a_column_each(
    tmp_path: Path, suffix: str, name: str, names: list[str]
) -> None:
    toy = TOYS[name]
    columns = read(predicted(toy, tmp_path, suffix))
    assert list(columns) == ["input_ids", "name", *names]
    numbers = ToyClassifier(toy).predict(PADDED).reshape(4, -1)
    found = np.array([[float(cell) for cell in columns[name]] for name in names], np.float32).T
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_that_are_there_are_kept(tmp_path: Path, suffix: str) -> None:
    columns = read(predicted(TOYS["tokens"], tmp_path, suffix, labels=NAMES))
    assert columns["labels"] == NAMES
    assert [len(each) for each in lists(columns["predicted_labels"], str)] == [2, 6, 3, 4]


def test_the_lengths_of_lists_in_npz_take_a_free_name(tmp_path: Path) -> None:
    output = predicted(TOYS["tokens"], tmp_path, "npz", labels_lengths=NAMES)
    with np.load(output) as arrays:
        assert arrays["labels_lengths"].tolist() == NAMES
        assert arrays["predicted_labels_lengths"].tolist() == [2, 6, 3, 4]
        assert arrays["labels"].shape == (15,)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_of_differing_length_and_many_chunks(tmp_path: Path, suffix: str) -> None:
    toy, rng = TOYS["tokens"], np.random.default_rng(1)
    rows = [rng.integers(1, 9, length).tolist() for length in rng.integers(2, 7, 9000)]
    source, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    write_rows(source, input_ids=rows)
    assert predict_file(ToyClassifier(toy), source, output) == (9000, 0)
    found = lists(read(output)["labels"], str)
    assert [len(each) for each in found] == [len(row) for row in rows]
    for row in (0, 4095, 4096, 8999):
        assert found[row] == ToyClassifier(toy).predict([rows[row]])[0].tolist()


@pytest.mark.parametrize(
    ("labels", "cell", "shown"),
    [(("a;b", "c", "d"), "a;b", "'a;b'"), (("", "c", "d"), "", "''")],
)
def test_what_a_cell_of_csv_cannot_hold_is_named(
    tmp_path: Path, labels: tuple[Label, ...], cell: str, shown: str
) -> None:
    toy = Toy(TOYS["tokens"].signature, labels)
    assert any(cell in row.tolist() for row in ToyClassifier(toy).predict(PADDED))
    with pytest.raises(DataError) as caught:
        predicted(toy, tmp_path, "csv")
    assert str(caught.value) == (
        f"{tmp_path / 'in.csv'}: row 2, column labels: {shown} cannot be told apart in a cell; "
        "allowed: text without ';'; other formats hold any"
    )
    assert not (tmp_path / "out.csv").exists()
    assert cell in read(predicted(toy, tmp_path, "jsonl"))["labels"][1]


def test_rows_below_the_least_length_are_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("input_ids\n1 2\n3\n")
    with pytest.raises(DataError, match=r"in\.csv: row 2: has 1 ids; allowed: 2 to 6"):
        predict_file(ToyClassifier(TOYS["tokens"]), tmp_path / "in.csv", tmp_path / "out.csv")


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("input_ids\n")
    for name, added in [
        ("tokens", "labels,probabilities"),
        ("one label", "labels,probability_7"),
        ("numbers", "value_width,value_height"),
    ]:
        assert predict_file(ToyClassifier(TOYS[name]), tmp_path / "in.csv", tmp_path / "o.csv") == (
            0,
            0,
        )
        assert (tmp_path / "o.csv").read_text() == f"input_ids,{added}\n"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "npz"])
def test_memory_does_not_grow_with_the_lists(tmp_path: Path, suffix: str) -> None:
    def peak(rows: int) -> int:
        source = tmp_path / f"in_{rows}.{suffix}"
        write_rows(source, input_ids=[[1, 2, 3, 4, 5, 6, 7, 8]] * rows)
        tracemalloc.start()
        with (
            open_rows(source, chunk_rows=50) as reader,
            reader.writer(tmp_path / f"out.{suffix}", {"labels": ListOf(np.dtype("<U3"))}) as write,
        ):
            for chunk in reader:
                write(chunk, {"labels": Lists(np.full(8 * len(chunk), "abc"), chunk.offsets)})
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small = peak(1000)
    assert peak(10_000) < 1.5 * small


def test_a_float32_in_a_list_is_written_as_short_as_it_is(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", input_ids=[[1], [2]])
    added = Lists.of([np.array([0.9, 0.5]), np.array([])], np.float32)
    with (
        open_rows(source) as reader,
        reader.writer(tmp_path / "out.jsonl", {"scores": ListOf(np.dtype(np.float32))}) as write,
    ):
        for chunk in reader:
            write(chunk, {"scores": added})
    written = (tmp_path / "out.jsonl").read_text()
    assert written == '{"input_ids": [1], "scores": [0.9, 0.5]}\n{"input_ids": [2], "scores": []}\n'
