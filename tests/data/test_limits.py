"""Small files that state large things: a line and an end, in bounded memory."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy.data import open_rows, parquet_limits
from pe_deploy.errors import DataError
from tests.data.rows import error_of, predict

MIB = 2**20


def array(dtype: str, shape: tuple[int, ...], fortran_order: bool = False) -> bytes:
    """The header of an .npy file."""
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def archive(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """An .npz file whose members are a header and so many zeros, as far as its list says."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, header, size in members:
            file.writestr(f"{name}.npy", header + bytes(min(size, 64)))
            file.getinfo(f"{name}.npy").file_size = len(header) + size
    return path


IDS = ("input_ids", array("<i8", (4, 2)), 64)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        (
            [("input_ids", array("<i8", (4, 2**28)), 2**33)],
            "column input_ids has rows of 2,147,483,648 bytes; allowed: 134,217,728 or fewer",
        ),
        (
            [("input_ids", array("<i8", (2**28, 2), True), 2**32)],
            "column input_ids, in Fortran order, has 4,294,967,296 bytes; allowed: 1,073,741,824",
        ),
        (
            [IDS, ("label", array(f"<U{2**28}", (4,)), 2**32)],
            "column label has 4,294,967,296 bytes; allowed: 1,073,741,824 or fewer",
        ),
        (
            [("input_ids", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1), 2**32)],
            "not a readable npz file: column input_ids has a header of 4294967295 bytes",
        ),
    ],
)
def test_arrays_that_state_gigabytes(
    tmp_path: Path, members: list[tuple[str, bytes, int]], error: str
) -> None:
    source = archive(tmp_path / "in.npz", *members)
    with pytest.raises(DataError) as caught, open_rows(source) as reader:
        for chunk in reader:
            reader.labels(chunk)
    assert error in str(caught.value)


def test_archives_are_packed_by_deflate_alone(tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("input_ids.npy", b"")
    assert error_of(source).endswith("input_ids.npy is not compressed by deflate")


@pytest.mark.parametrize(
    ("suffix", "start", "error"),
    [
        (".csv", b'input_ids,x\n1,"', "row 1: a cell of more than 16,777,216 characters: is a"),
        (".jsonl", b"", "line 1 is too long; allowed: 33,554,432 bytes or fewer"),
        (".txt", b"", "line 1 is too long; allowed: 33,554,432 bytes or fewer"),
    ],
)
def test_lines_and_cells_without_an_end(
    tmp_path: Path, suffix: str, start: bytes, error: str
) -> None:
    source = tmp_path / f"in{suffix}.gz"
    with gzip.open(source, "wb", 1) as file:
        file.write(start)
        for _ in range(64):
            file.write((b"a" * 1023 + (b"\n" if suffix == ".csv" else b"a")) * 1024)
    tracemalloc.start()
    assert error_of(source).startswith(error)
    assert tracemalloc.get_traced_memory()[1] < 160 * MIB
    tracemalloc.stop()


def test_a_json_array_is_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pe_deploy.data.json_file.LARGEST_ARRAY", 40)
    source = tmp_path / "in.json"
    source.write_text('[{"input_ids": [1]}]')
    predict(source, tmp_path / "out.json")
    source.write_text('[{"input_ids": [1]}' + " " * 40 + "]")
    assert error_of(source) == (
        "a JSON array that is too large; allowed: 40 bytes or fewer, or JSON lines, of any size"
    )


def test_a_row_of_many_lines_and_cells_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pe_deploy.data.text_reader.LARGEST_RECORD", 200)
    source = tmp_path / "in.csv"
    source.write_text("input_ids,x\n" + '1,"two\nlines"\n' * 90)
    predict(source, tmp_path / "out.csv")
    with source.open("a") as file:
        file.write('1,"a"' + ',"a\nb"' * 90)
    assert error_of(source, 500).endswith("is too large; allowed: 200 bytes or fewer")


def test_large_rows_come_in_small_chunks(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids,x\n" + f"1,{'a' * MIB}\n" * 20)
    with open_rows(source) as reader:
        assert [len(chunk) for chunk in reader] == [8, 8, 4]


def _repeated(text: str, rows: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])


def test_text_that_is_stored_once_is_decoded_in_pieces(tmp_path: Path) -> None:
    source, rows = tmp_path / "in.parquet", 200
    text = "a" * MIB
    nested = pa.ListArray.from_arrays(list(range(rows + 1)), _repeated("b" * MIB, rows))
    table = {"input_ids": [[1, 2]] * rows, "note": _repeated(text, rows), "more": nested}
    pq.write_table(pa.table(table), source, compression="zstd", store_schema=False)
    assert source.stat().st_size < 3000
    with open_rows(source) as reader:
        chunks = list(map(len, reader))
    assert sum(chunks) == rows
    assert max(chunks) * 2 * MIB <= parquet_limits._CHUNK_BYTES


def test_text_that_is_read_in_its_stored_form_comes_back_as_it_was(tmp_path: Path) -> None:
    source, rows = tmp_path / "in.parquet", 2000
    texts = [f"{'x' * 90}{row}" if row % 5 else None for row in range(rows)]
    table = pa.table(
        {
            "input_ids": [[1, 2]] * rows,
            "text": texts,
            "large": pa.array(texts, pa.large_string()),
            "kind": pa.array(texts).dictionary_encode(),
            "bytes": pa.array([text and text.encode() for text in texts]),
            "list": [[text, None] if text else None for text in texts],
            "struct": [{"a": text, "b": 1} for text in texts],
            "map": pa.array([[("k", text)] for text in texts], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, source)
    written = pq.read_table(predict(source, tmp_path / "out.parquet", 1000))
    assert written.select(table.column_names).equals(table)


def test_values_that_no_file_could_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"input_ids": [[0] * 200_000]}), source, compression="zstd")
    predict(source, tmp_path / "out.parquet")
    monkeypatch.setattr(parquet_limits, "MOST_VALUES", 1000)
    error = error_of(source)
    assert error.startswith("column input_ids.list.element has 200,000 values in a row group, out")
    assert error.endswith("000")
    monkeypatch.setattr(parquet_limits, "LARGEST_ROW", 1000)
    pq.write_table(pa.table({"input_ids": [[1]], "x": ["a" * MIB]}), source)
    monkeypatch.setattr(parquet_limits, "_CHUNK_BYTES", 500)
    assert error_of(source) == "a row has 1,048,576 bytes of text; allowed: 1,000 or fewer"
