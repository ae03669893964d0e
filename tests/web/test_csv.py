"""The page's CSV is Python's: what its csv module reads strictly, and what it writes."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pe_deploy.data.written_ids import AS_TEXT, members_of

Run = Callable[[str, Any], Any]

CELLS = [
    "",
    "a",
    "1 2 3",
    'say "hi"',
    "x,y",
    "x;y",
    "tab\tbed",
    "two\nlines",
    "cr\r\nlf",
    " a ",
    "é🙂",
]
ODD = ['"', '""', ",", ";", "\n", "\r", "\r\n", "a", " ", '"a"', '"a,b"', '"a\nb"', "\t", "é"]


def texts() -> list[tuple[str, str]]:
    """Texts that are CSV and texts that are nearly, each with its delimiter."""
    rng = random.Random(3)
    made = []
    for _ in range(300):
        file = io.StringIO()
        delimiter = rng.choice(",;\t")
        writer = csv.writer(file, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerows(rng.choices(CELLS, k=rng.randint(1, 4)) for _ in range(rng.randint(0, 4)))
        made.append((file.getvalue(), delimiter))
    made += [
        ("".join(rng.choices(ODD, k=rng.randint(0, 9))), rng.choice(",;")) for _ in range(1500)
    ]
    return made


def read(text: str, delimiter: str) -> list[list[str]] | None:
    """The records; None where the text is refused."""
    lines = io.StringIO(text, newline="\n")
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row]
    except csv.Error:
        return None


def test_it_reads_what_python_reads_in_pieces_of_any_size(in_node: Run) -> None:
    cases = texts()
    expected = [read(*case) for case in cases]
    assert sum(each is None for each in expected) > 100
    for size in (1, 3, 10_000):
        given = [{"text": text, "delimiter": mark, "size": size} for text, mark in cases]
        for case, found, wanted in zip(cases, in_node("recordsOf", given), expected, strict=True):
            assert (found if isinstance(found, list) else None) == wanted, case


def test_it_writes_what_python_writes(in_node: Run) -> None:
    rng = random.Random(4)
    rows = [rng.choices(CELLS, k=rng.randint(1, 5)) for _ in range(300)]
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    given = [{"cells": row, "delimiter": ","} for row in rows]
    assert "".join(f"{line}\r\n" for line in in_node("writtenLine", given)) == file.getvalue()


def test_lists_of_ids_are_read_as_python_reads_them(in_node: Run) -> None:
    cells = ["1 2", "[1, 2]", "[1 2]", "1,2", "(1, 2)", "(1,)", "[]", "", "  ", "1,,2", "+7 -3"]
    cells += [
        "[np.int64(1), np.int64(2)]",
        "1\n2",
        "[1\n 2]",
        "[[1, 2]]",
        "1.0",
        "1_000",
        "١",
        "0x1",
    ]
    cells += [str(2**63), str(-(2**63)), str(2**53 + 1), "9" * 60, "a" * 50, "[1 2 ... 8 9]"]
    for cell, found in zip(cells, in_node("idsInText", cells), strict=True):
        members = members_of([cell])[0]
        if all(map(AS_TEXT.is_integer, members)) and all(
            -(2**63) <= int(each) < 2**63 for each in members
        ):
            assert found == [str(int(each)) for each in members], cell
        else:
            assert "allowed: " in found["error"], cell


def test_numbers_are_written_as_python_writes_them(in_node: Run) -> None:
    rng = random.Random(5)
    numbers = [0.0, 1.0, -2.0, 0.1, 1e-4, 9.9e-5, 1e-5, 1e-7, 1.5e-10, 1e15, 1e16, 1.5e300, 5e-324]
    numbers += [rng.random() * 10.0 ** rng.randint(-12, 18) for _ in range(500)]
    assert in_node("floatText", numbers) == list(map(repr, numbers))


def test_float32_is_written_in_the_fewest_decimals_that_give_it_back(in_node: Run) -> None:
    rng = random.Random(6)
    singles = [np.float32(rng.uniform(-1, 1) * 10.0 ** rng.randint(-9, 12)) for _ in range(500)]
    for single, found in zip(singles, in_node("ofFloat32", list(map(float, singles))), strict=True):
        assert np.float32(found) == single
        assert len(repr(float(found))) <= len(repr(float(str(single))))


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("input_ids,label", ","),
        ("input_ids;a,b,c", ";"),
        ("id\tinput_ids", "\t"),
        ('"a;b;c",input_ids', ","),
        ("input_ids", ","),
        ("a;b", ";"),
        ('"input_ids";"x"', ";"),
    ],
)
def test_the_header_shows_the_delimiter(in_node: Run, header: str, delimiter: str) -> None:
    assert in_node("shownBy", [header]) == [delimiter]
