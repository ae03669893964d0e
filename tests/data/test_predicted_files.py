"""What `predict` adds to a file, for each task and in each format."""

from __future__ import annotations

import csv
import json
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pe_deploy import DataError
from pe_deploy.config import Label
from pe_deploy.data import open_rows
from pe_deploy.data.lists import ListOf, Lists
from pe_deploy.runtime.classifier import Run
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


GOOD, BAD = (
    [[8, 5, 3], [6, 5, 5, 8]],
    {
        "1 x": "column input_ids: 'x' is not an integer; allowed: integers only",
        "1 99": "column 1 has id 99; allowed: 0 to 8",
        "0 5": "column 0 has pad_id 0 before the row's last token; "
        "allowed: padding on the right only",
        "": "has 0 ids; allowed: {} to 6",
        "1 1 1 1 1 1 1": "has 7 ids; allowed: {} to 6",
    },
)


def with_bad_rows(folder: Path, suffix: str) -> Path:
    """A file whose second and last rows are good."""
    cells = [*list(BAD)[:1], "8 5 3", *list(BAD)[1:], "6 5 5 8"]
    source = folder / f"in.{suffix}"
    if suffix == "csv":
        source.write_text("input_ids,error\n" + "".join(f"{cell},kept\n" for cell in cells))
    elif suffix == "jsonl":
        rows = [[int(one) if one.isdigit() else one for one in cell.split()] for cell in cells]
        lines = (json.dumps({"input_ids": row, "error": "kept"}) for row in rows)
        source.write_text("\n".join(lines))
    else:
        pq.write_table(pa.table({"input_ids": cells, "error": ["kept"] * len(cells)}), source)
    return source


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["classes", "multilabel", "regression", "tokens"])
def test_a_bad_row_has_null_and_a_reason_where_that_is_asked(
    tmp_path: Path, suffix: str, name: str
) -> None:
    toy, source = TOYS[name], with_bad_rows(tmp_path, suffix)
    output = tmp_path / f"out.{suffix}"
    classifier = ToyClassifier(toy)
    assert predict_file(classifier, source, output, on_error="null") == (7, 5)
    columns = read(output)
    assert columns["error"] == ["kept"] * 7
    last = list(columns)[-2]  # an empty list of labels is an empty cell of CSV, too
    missing = "" if suffix == "csv" else None
    assert [row for row, cell in enumerate(columns[last]) if cell != missing] == [1, 6]
    reasons = [
        reason.format(toy.signature.min_length).replace("'", '"' if suffix == "jsonl" else "'")
        for reason in BAD.values()
    ]
    if suffix == "jsonl":
        reasons[2] = BAD["0 5"]
    expected = [reasons[0], missing, *reasons[1:], missing]
    assert columns["predicted_error"] == expected
    if name == "classes":
        assert [columns["label"][row] for row in (1, 6)] == classifier.predict(GOOD).tolist()
    if name == "tokens":
        found = lists([columns["labels"][row] for row in (1, 6)], str)
        assert found == [row.tolist() for row in classifier.predict(GOOD)]
    with pytest.raises(DataError, match="row 1, column input_ids: "):
        predict_file(classifier, source, tmp_path / f"other.{suffix}")
    assert not (tmp_path / f"other.{suffix}").exists()


def test_rows_are_of_the_first_good_ones_length_without_padding(tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("input_ids\n1 2 3 4 5 6 7\n1 2\n3\n4 5\n")
    assert predict_file(ToyClassifier(TOYS["binary"]), source, output, on_error="null") == (4, 2)
    assert [bool(cell) for cell in read(output)["label"]] == [False, True, False, True]
    assert read(output)["error"][2].startswith("has 1 ids where the first row has 2; ")


def test_good_rows_are_run_once_however_many_are_bad(tmp_path: Path) -> None:
    run: list[int] = []

    class Counting(ToyClassifier):
        def _open(self) -> Run:
            answer = super()._open()

            def count(ids: NDArray[np.int64]) -> NDArray[np.float32]:
                run.append(len(ids))
                return answer(ids)

            return count

    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = ["1 99" if row % 7 == 3 else "1 2" for row in range(5000)]
    source.write_text("input_ids\n" + "\n".join(rows) + "\n")
    done = predict_file(Counting(TOYS["classes"]), source, output, on_error="null")
    assert done == (5000, sum("99" in row for row in rows))
    assert sum(run) == done.rows - done.errors


def test_rows_that_are_all_bad_have_no_answer(tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        source, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
        write_rows(source, input_ids=[[99], [98]])
        done = predict_file(ToyClassifier(TOYS["tokens"]), source, output, on_error="null")
        assert done == (2, 2)
        assert len(read(output)["labels"]) == 2


def test_arrays_have_no_null(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.npz", input_ids=PADDED)
    with pytest.raises(DataError, match=r"allowed with bad rows: any format but \.npz"):
        predict_file(ToyClassifier(TOYS["classes"]), source, tmp_path / "o.npz", on_error="null")
    array = tmp_path / "in.npy"
    np.save(array, np.array(PADDED, np.uint64) + np.array([[0], [0], [2**63], [0]], np.uint64))
    done = predict_file(ToyClassifier(TOYS["classes"]), array, tmp_path / "o.csv", on_error="null")
    assert done == (4, 1)
    assert "outside int64" in read(tmp_path / "o.csv")["error"][2]
