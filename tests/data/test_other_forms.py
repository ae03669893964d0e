"""Files with other delimiters, compressed, of JSON arrays, and without columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pe_deploy.data import Columns, open_rows
from pe_deploy.errors import DataError, InvalidInputError
from tests.data.rows import all_ids, error_of, predict


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("in.csv", b"x;input_ids\na,b;1 2\n", b"x;input_ids;label;probability\na,b;1 2;even;0.9\n"),
        (
            "in.csv",
            b"x\tinput_ids\na\t[1, 2]\n",
            b"x\tinput_ids\tlabel\tprobability\na\t[1, 2]\teven\t0.9\n",
        ),
        ("in.tsv", b"input_ids\n1,2\n", b"input_ids\tlabel\tprobability\n1,2\teven\t0.9\n"),
        (
            "in.csv",
            b'"a;b;c;d",input_ids\nx,1\n',
            b"a;b;c;d,input_ids,label,probability\nx,1,odd,0.9\n",
        ),
        (
            "in.csv",
            b"a;b;c,input_ids\nx,1\n",
            b"a;b;c,input_ids,label,probability\nx,1,odd,0.9\n",
        ),
        (
            "in.csv",
            b"\xef\xbb\xbfinput_ids;x\r\n[1, 2];\r\n",
            b"\xef\xbb\xbfinput_ids;x;label;probability\r\n[1, 2];;even;0.9\r\n",
        ),
    ],
)
def test_the_header_shows_what_separates_cells(
    tmp_path: Path, name: str, content: bytes, expected: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    out = predict(tmp_path / name, tmp_path / f"out{Path(name).suffix}")
    assert out.read_bytes() == expected


def test_a_delimiter_can_be_stated(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    for given, content in (("|", "input_ids|x\n1,2|b\n"), (r"\t", "a,b\tinput_ids\n,\t1 2\n")):
        source.write_text(content)
        with open_rows(source, delimiter=given) as reader:
            assert [chunk.values.tolist() for chunk in reader] == [[1, 2]]
    for wrong in ("", ";;", '"', "\n", "\0"):
        with (
            pytest.raises(InvalidInputError, match="allowed: one character"),
            open_rows(source, delimiter=wrong),
        ):
            pass


def test_columns_have_other_names(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("tokens;input_ids\n[1, 2];x\n")
    with open_rows(source, columns=Columns(ids="tokens")) as reader:
        assert [chunk.values.tolist() for chunk in reader] == [[1, 2]]
    source.write_text("tokens,b\nx7,y\n")
    with (
        pytest.raises(DataError, match="row 1, column tokens: 'x7' is not an integer"),
        open_rows(source, columns=Columns(ids="tokens")) as reader,
    ):
        list(reader)
    with (
        pytest.raises(DataError, match=r"no column 'ids'; its columns: tokens, b$"),
        open_rows(source, columns=Columns(ids="ids")),
    ):
        pass
    with (
        pytest.raises(
            InvalidInputError, match="ids are in 'a' and the text is in 'b'; allowed: one"
        ),
        open_rows(source, columns=Columns(ids="a", text="b")),
    ):
        pass


ROWS = b'{"input_ids": [1], "x": 1.10}\n{"input_ids": [2, 3]}\n'


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("csv", b"input_ids,x\n1,\n2 3,\n"),
        ("tsv", b"input_ids\tx\n1\t\n2 3\t\n"),
        ("jsonl", ROWS),
        ("json", b"[" + ROWS.replace(b"\n", b",\n", 1) + b"]"),
    ],
)
def test_compressed_files_are_read_and_written(tmp_path: Path, suffix: str, content: bytes) -> None:
    plain, packed = tmp_path / f"in.{suffix}", tmp_path / f"in.{suffix}.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert all_ids(packed, 1) == all_ids(plain, 1) == [[1], [2, 3]]
    expected = predict(plain, tmp_path / f"out.{suffix}").read_bytes()
    first = predict(packed, tmp_path / f"first.{suffix}.gz").read_bytes()
    assert gzip.decompress(first) == expected
    assert predict(packed, tmp_path / f"2.{suffix}.gz").read_bytes() == first
    for damage in (
        packed.read_bytes()[:-5],
        b"no gzip",
        gzip.compress(content)[:20] + b"\xff" * 20,
    ):
        packed.write_bytes(damage)
        assert error_of(packed).startswith("not a readable gzip file: ")


def test_a_json_array_keeps_its_rows_and_its_form(tmp_path: Path) -> None:
    source = tmp_path / "in.json"
    rows = [r'{"input_ids": [1], "x": 1.10, "y": "\u00e9,]"}', '{ "input_ids":[2, 3] }']
    source.write_bytes(b"\xef\xbb\xbf\n [" + " ,\n\n ".join(rows).encode() + b" ] \n")
    assert all_ids(source, 1) == [[1], [2, 3]]
    written = predict(source, tmp_path / "out.json").read_text(encoding="utf-8-sig")
    assert written == (
        f'[{rows[0][:-1]}, "label": "odd", "probability": 0.9}},\n'
        f'{rows[1][:-2]}, "label": "even", "probability": 0.9}}]\n'
    )
    source.write_text("[ ]")
    assert predict(source, tmp_path / "out.json").read_text() == "[]\n"


def test_json_lines_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    source = tmp_path / "in.json"
    source.write_bytes(ROWS)
    lines = predict(source, tmp_path / "out.json").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["odd", "even"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('[{"input_ids": [1]} {"input_ids": [2]}]', "row 1: not JSON: no comma and no bracket"),
        ('[{"input_ids": [1]}, {"input_ids": [2]}', "row 2: not JSON: no comma and no bracket"),
        ('[{"input_ids": [1]}] 7', "row 1: not JSON: more after the end of the array"),
        ('[{"input_ids": [1]}, [2]]', "row 2: a JSON list; allowed: an object"),
        ('[{"input_ids": [1]}, {"input_ids": [2}]', "row 2: not JSON: Expecting ',' delimiter"),
        ('{"input_ids": {"0": [1]}}', 'row 1, column input_ids: {"0": [1]} is not a list; '),
        ("[" * 9000, "row 1: JSON that cannot be read: "),
    ],
)
def test_a_malformed_array_is_one_line(tmp_path: Path, content: str, error: str) -> None:
    source = tmp_path / "in.json"
    source.write_text(content)
    assert error_of(source).startswith(error)


def test_what_excel_calls_unicode_text_says_how_to_save_it(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("input_ids\n1\n".encode("utf-16"))
    assert error_of(source) == (
        "line 1 is UTF-16 text; save it as UTF-8, which Excel calls 'CSV UTF-8'"
    )


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        (".csv", "input_ids,label,probability\n1 2,even,0.9\n3 4,even,0.9\n"),
        (".tsv", "input_ids\tlabel\tprobability\n1 2\teven\t0.9\n3 4\teven\t0.9\n"),
        (
            ".jsonl",
            '{"input_ids": [1, 2], "label": "even", "probability": 0.9}\n'
            '{"input_ids": [3, 4], "label": "even", "probability": 0.9}\n',
        ),
    ],
)
def test_an_array_of_ids_becomes_a_table(tmp_path: Path, suffix: str, expected: str) -> None:
    source = tmp_path / "in.npy"
    for order in ("C", "F"):
        np.save(source, np.array([[1, 2], [3, 4]], np.uint8, order=order))
        assert predict(source, tmp_path / f"out{suffix}", 1).read_text() == expected
    with pytest.raises(DataError, match=r"'.npy'; allowed: '.csv', .* as the input has no columns"):
        predict(source, tmp_path / "out.npy")


def test_an_array_of_anything_else_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.npy"
    np.save(source, np.ones((2, 2)))
    assert error_of(source).startswith("column input_ids is float64 of shape (2, 2); allowed: ")
    np.save(source, np.array([[1, None]]), allow_pickle=True)
    assert error_of(source).startswith("column input_ids holds Python objects; ")
    source.write_bytes(source.read_bytes()[:40])
    assert error_of(source).startswith("not a readable npy file: ")


def test_a_cell_is_carried_however_long_it_is(tmp_path: Path) -> None:
    source, text = tmp_path / "in.csv", "long " * 100_000
    source.write_text(f"input_ids,text\n1,{text}\n")
    assert predict(source, tmp_path / "out.csv").read_text().split(",")[-3] == text
