from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError, InvalidInputError
from tests.data.rows import predict, write_rows

ALLOWED = "allowed: .csv, .tsv, .jsonl, .json, .txt, .parquet, .npz, .npy, and .gz of text"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none.csv", "No such file or directory"),
        ("folder.npz", "Is a directory"),
        ("rows.dat", f"suffix '.dat'; {ALLOWED}"),
        ("rows.csv.bz2", f"suffix '.bz2'; unpack it first; {ALLOWED}"),
        ("rows.xlsx", f"suffix '.xlsx'; save it as 'CSV UTF-8'; {ALLOWED}"),
        ("rows.feather", f"suffix '.feather'; write it as .parquet; {ALLOWED}"),
        (
            "rows.pkl",
            "suffix '.pkl'; a pickle may run code where it is read; "
            f"write it as .parquet or .jsonl; {ALLOWED}",
        ),
    ],
)
def test_what_is_no_file_of_rows_is_one_exact_line(tmp_path: Path, name: str, error: str) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError) as caught:
        open_rows(tmp_path / name).__enter__()
    assert str(caught.value) == f"{tmp_path / name}: {error}"


def test_an_output_of_another_suffix_names_both(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids\n1\n")
    with open_rows(source) as reader, pytest.raises(DataError) as caught:
        reader.writer(Path("out.jsonl"), {}).__enter__()
    assert str(caught.value) == (
        f"{source}: output with suffix '.jsonl'; allowed: '.csv', as the input"
    )


def test_chunks_have_at_least_a_row(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="chunk_rows is 0; allowed: 1 or more"):
        open_rows(tmp_path / "in.csv", chunk_rows=0).__enter__()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    def peak(rows: int) -> int:
        source = tmp_path / f"in_{rows}{suffix}"
        write_rows(source, input_ids=[[1, 2, 3, 4, 5, 6, 7, 8]] * rows)
        tracemalloc.start()
        predict(source, tmp_path / f"out{suffix}", chunk_rows=50)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small = peak(1000)
    assert peak(10_000) < 1.5 * small


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("in.csv", '"a\nb",x\n1,2\n', r"in.csv: no column 'input_ids'; its columns: a\nb, x"),
        ("in.jsonl", '{"a\\u001b\\rb": 1}', r"no column 'input_ids'; its columns: a\x1b\rb"),
        ("i\nn.csv", "x\n1\n", r"i\nn.csv: no column 'input_ids'; its columns: x"),
        ("i\nn.csv", "input_ids\nz\n", r"i\nn.csv: row 1, column input_ids: 'z' is not an"),
    ],
)
def test_names_with_control_characters_are_escaped(
    tmp_path: Path, name: str, content: str, error: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught, open_rows(tmp_path / name) as reader:
        list(reader)
    assert error in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_path_with_nul() -> None:
    with pytest.raises(DataError) as caught:
        open_rows("a\0b.csv").__enter__()
    assert str(caught.value) == r"a\x00b.csv: not a path: embedded null byte"
