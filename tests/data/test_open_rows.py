from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError, InvalidInputError


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file or directory$"):
        open_rows(tmp_path / "none.csv").__enter__()


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    with pytest.raises(DataError, match=r"folder\.npz: Is a directory$"):
        open_rows(folder).__enter__()


def test_an_unknown_suffix_names_the_known_ones() -> None:
    with pytest.raises(DataError) as caught:
        open_rows("rows.xlsx").__enter__()
    assert str(caught.value) == ("rows.xlsx: suffix '.xlsx'; allowed: .csv, .jsonl, .parquet, .npz")


def test_an_output_of_another_suffix_names_both(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids\n1\n")
    with open_rows(source) as reader, pytest.raises(DataError) as caught:
        reader.writer(Path("out.jsonl"), {})
    assert str(caught.value) == (
        f"{source}: output with suffix '.jsonl'; allowed: '.csv', as the input"
    )


def test_chunks_have_at_least_a_row(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="chunk_rows is 0; allowed: 1 or more"):
        open_rows(tmp_path / "in.csv", chunk_rows=0).__enter__()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npz"])
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, predict: Callable[..., Path], suffix: str
) -> None:
    def peak(rows: int) -> int:
        source = tmp_path / f"in_{rows}{suffix}"
        ids = np.arange(rows * 8).reshape(rows, 8)
        if suffix == ".csv":
            source.write_text("input_ids\n" + "1 2 3 4 5 6 7 8\n" * rows)
        elif suffix == ".jsonl":
            source.write_text('{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}\n' * rows)
        else:
            np.savez(source, input_ids=ids)
        del ids
        tracemalloc.start()
        predict(source, tmp_path / f"out{suffix}", chunk_rows=50)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small = peak(2000)
    assert peak(20_000) < 1.5 * small
