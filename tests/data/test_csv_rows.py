from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pe_deploy.data import open_rows
from tests.data.rows import all_ids, error_of, predict


def test_other_cells_come_back_as_they_were(tmp_path: Path) -> None:
    cells = ["007", "NA", "", "null", " x ", 'say "hi", ok', "a\nb", "a\r\nb", "a\rb"]
    cells += ["žluť 🐎", "1e5"]
    source = tmp_path / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["note", "input_ids"], *([cell, "1 2 3"] for cell in cells)])
    target = predict(source, tmp_path / "out.csv")
    with target.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["note", "input_ids", "label", "probability"]
    assert rows == [[cell, "1 2 3", "odd", "0.9"] for cell in cells]


def test_only_cells_that_need_quotes_get_them(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b'id,"input_ids",note\n"01",1 2,"a,b"\n02,3,c\n')
    assert predict(source, tmp_path / "out.csv").read_bytes() == (
        b'id,input_ids,note,label,probability\n01,1 2,"a,b",even,0.9\n02,3,c,odd,0.9\n'
    )


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends_are_kept(
    tmp_path: Path, mark: bytes, newline: bytes
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(mark + b"input_ids" + newline + b"5 6" + newline)
    assert predict(source, tmp_path / "out.csv").read_bytes() == (
        mark + b"input_ids,label,probability" + newline + b"5 6,even,0.9" + newline
    )


def test_a_lone_carriage_return_in_a_cell_survives_unix_line_ends(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b'note,input_ids\n"a\rb",1\n')
    assert predict(source, tmp_path / "out.csv").read_bytes() == (
        b'note,input_ids,label,probability\n"a\rb",1,odd,0.9\n'
    )


def test_columns_of_the_file_are_kept_beside_added_ones_of_the_same_name(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("label,input_ids,predicted_label\ntrue one,4,old\n")
    assert predict(source, tmp_path / "out.csv").read_text() == (
        "label,input_ids,predicted_label,predicted_predicted_label,probability\n"
        "true one,4,old,odd,0.9\n"
    )


def test_ids_are_separated_by_any_white_space(tmp_path: Path) -> None:
    source = tmp_path / "in.CSV"
    source.write_text('input_ids,x\n  1\t 2 ,\n"",\n"3\n4",\n9223372036854775807 -5 +6 007,\n\n8,')
    expected = [[1, 2], [], [3, 4], [2**63 - 1, -5, 6, 7], [8]]
    for chunk_rows in range(1, 7):
        assert all_ids(source, chunk_rows) == expected


def test_rows_of_one_length_are_a_matrix_and_others_a_list(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids\n1 2\n3 4\n5\n6 7\n")
    with open_rows(source, chunk_rows=2) as reader:
        first, second = (chunk.rows() for chunk in reader)
    assert isinstance(first, np.ndarray)
    assert first.dtype == np.int64
    assert first.tolist() == [[1, 2], [3, 4]]
    assert isinstance(second, list)
    assert [row.tolist() for row in second] == [[5], [6, 7]]


def test_done_grows_to_one(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids\n" + "1 2 3\n" * 7)
    with open_rows(source, chunk_rows=2) as reader:
        done = [chunk.done for chunk in reader]
    assert done == sorted(set(done))
    assert done[-1] == 1.0


def test_a_file_with_a_header_alone_gives_one_with_a_header(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids,x\n")
    assert predict(source, tmp_path / "out.csv").read_text() == "input_ids,x,label,probability\n"


_ANY = "allowed: integers only"
_STATE = "; state the one that holds ids, or text"
_SAVE_AS = "save it as UTF-8, which Excel calls 'CSV UTF-8'"
_INT64 = f"allowed: {-(2**63)} to {2**63 - 1}"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the file is empty; allowed: a header, then rows"),
        (b"\n\n", "the file is empty; allowed: a header, then rows"),
        (b"ids,label\n1,2\n", f"no column 'input_ids'; its columns: ids, label{_STATE}"),
        (b"input_ids,input_ids\n1,2\n", "2 columns are called 'input_ids'; allowed: one"),
        (b"input_ids,x\n1,a\n2,b\n3\n", "row 3: 1 fields; the header has 2"),
        (b"input_ids\n1\n2,3\n", "row 2: 2 fields; the header has 1"),
        (
            b"input_ids\n1\n\n2 3\n4 x7 y\n",
            f"row 3, column input_ids: 'x7' is not an integer; {_ANY}",
        ),
        (b"input_ids\n-0 1.0\n", f"row 1, column input_ids: '1.0' is not an integer; {_ANY}"),
        (b"input_ids\n1_000\n", f"row 1, column input_ids: '1_000' is not an integer; {_ANY}"),
        (
            "input_ids\n٣\n".encode(),
            f"row 1, column input_ids: '٣' is not an integer; {_ANY}",
        ),
        (
            b"input_ids\n1 9223372036854775808\n",
            f"row 1, column input_ids: 9223372036854775808 is outside int64; {_INT64}",
        ),
        (
            b"input_ids\n" + b"9" * 5000,
            f"row 1, column input_ids: {'9' * 40}… is outside int64; {_INT64}",
        ),
        (b"input_ids\n1\n\xff\n", f"line 3 is not UTF-8 text, at its byte 1; {_SAVE_AS}"),
        (b'input_ids\n1\n"2\n3\n', "row 2: unexpected end of data"),
        (b'input_ids\n1\n"2"x\n', "row 2: ',' expected after '\"'"),
        (b'"input_ids\n1\n', "header: unexpected end of data"),
        (
            b'input_ids\n1\n"2' + b"\n1 2 3" * 3_000_000,
            "row 2: a cell of more than 16,777,216 characters: is a quote left open?",
        ),
    ],
)
def test_a_malformed_file_is_one_exact_line(tmp_path: Path, content: bytes, error: str) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(content)
    assert error_of(source) == error


def test_spaces_of_other_scripts_separate_ids_too(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("input_ids\n1\u00a02\u30003\n", encoding="utf-8")
    assert all_ids(source) == [[1, 2, 3]]
