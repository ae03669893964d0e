from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError
from tests.data.rows import all_ids, error_of, predict


def test_a_row_keeps_its_text_and_gains_members(tmp_path: Path) -> None:
    lines = [
        r'{"when": "2024-01-01", "x": 1.10, "e": "\u00e9", "é": null, "input_ids": [1]}',
        '{ "input_ids": [1, 2] , "big": 123456789012345678901234567890, "nan": NaN }',
        '{"input_ids":[],"nested":{"a":[{}]},"twice":1,"twice":2}',
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    assert predict(source, tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines() == [
        lines[0][:-1] + ', "label": "odd", "probability": 0.9}',
        lines[1][:-2] + ', "label": "even", "probability": 0.9}',
        lines[2][:-1] + ', "label": "even", "probability": 0.9}',
    ]


def test_blank_lines_are_not_rows_and_line_ends_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"input_ids": [3]}\r\n\r\n  \r\n{"input_ids": [4, 5]}\r\n\r\n')
    assert all_ids(source, 1) == [[3], [4, 5]]
    assert predict(source, tmp_path / "out.jsonl").read_bytes() == (
        b'\xef\xbb\xbf{"input_ids": [3], "label": "odd", "probability": 0.9}\r\n'
        b'{"input_ids": [4, 5], "label": "even", "probability": 0.9}\r\n'
    )


def test_added_text_is_written_as_it_reads(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"input_ids": [1], "label": 0}')
    names = np.array(["kůň"])
    with open_rows(source) as reader, reader.writer(target, {"label": names.dtype}) as write:
        for chunk in reader:
            write(chunk, {"label": names})
    assert target.read_text(encoding="utf-8") == (
        '{"input_ids": [1], "label": 0, "predicted_label": "kůň"}\n'
    )


def test_a_later_row_that_uses_an_added_name_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"input_ids": [1]}\n{"input_ids": [2]}\n{"input_ids": [3], "label": 1}\n')
    with pytest.raises(DataError) as caught:
        predict(source, tmp_path / "out.jsonl")
    assert str(caught.value) == (
        f"{source}: row 3: a column 'label', which is to be added; row 1 has none"
    )


def test_an_empty_file_gives_an_empty_file(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.touch()
    assert predict(source, tmp_path / "out.jsonl").read_bytes() == b""


def _row(ids: str) -> str:
    return f'{{"input_ids": [1]}}\n{{"input_ids": {ids}}}\n'


@pytest.mark.parametrize("token", ["true", "1.0", "NaN", "null", '"3"', "[3]", "1e3", "{}"])
def test_what_is_not_an_integer_is_named(tmp_path: Path, token: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(_row(f"[4, {token}, 5]"))
    with pytest.raises(DataError) as caught, open_rows(source, chunk_rows=1) as reader:
        list(reader)
    assert str(caught.value) == (
        f"{source}: row 2, column input_ids: {json.dumps(json.loads(token))} is not an integer; "
        "allowed: integers only"
    )


_STATE = "; state the one that holds ids, or text"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (_row("7"), "row 2, column input_ids: 7 is not a list; allowed: a list of integers"),
        (_row("null"), "row 2, column input_ids: null is not a list; allowed: a list of integers"),
        (
            _row(f"[{-(2**63) - 1}]"),
            f"row 2, column input_ids: {-(2**63) - 1} is outside int64; "
            f"allowed: {-(2**63)} to {2**63 - 1}",
        ),
        (
            '{"input_ids": [1]}\n{"ids": [1], "b": 2}\n',
            "row 2: no column 'input_ids'; its columns: ids, b",
        ),
        ('{"ids": [1], "b": 2}\n', f"no column 'input_ids'; its columns: ids, b{_STATE}"),
        ('{"input_ids": [1]}\n[1]\n', "row 2: a JSON list; allowed: an object"),
        (
            '{"input_ids": [1]}\n{"input_ids": [1}\n',
            "row 2: not JSON: Expecting ',' delimiter, at character 17",
        ),
    ],
)
def test_a_malformed_file_is_one_exact_line(tmp_path: Path, content: str, error: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    assert error_of(source) == error


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"input_ids": [' + b"9" * 10_000 + b"]}", b"\xff\xfe{\x00", b"\x00\x00"],
)
def test_hostile_lines_are_data_errors(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    with pytest.raises(DataError, match=r"row 1|line 1"), open_rows(source) as reader:
        list(reader)
