"""What a notebook shows is short and escaped, and nothing but a notebook shows a bar."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pe_deploy import Decision, Signature
from pe_deploy.bundle.describe import sentence
from pe_deploy.data import open_rows
from pe_deploy.view import html
from pe_deploy.view.progress import in_notebook, shown
from pe_deploy.view.text import cut, few

HOSTILE = "</td><script>alert('&')</script>"


def test_a_text_is_one_printable_line() -> None:
    assert cut("two\nlines", 20) == "two lines"
    assert cut("colour \x1b[31m \ud800", 20) == "colour �[31m �"
    assert cut("x" * 50, 10) == "x" * 9 + "…"
    assert few(range(1234), most=3) == "0, 1, 2 and 1,231 more"
    assert few([], most=3) == ""


def test_every_text_is_escaped() -> None:
    parts = [
        html.table(HOSTILE, [HOSTILE, "b"], [[HOSTILE, HOSTILE]]),
        html.facts([(HOSTILE, HOSTILE)]),
        html.line(HOSTILE),
        html.code(HOSTILE),
        html.folded(HOSTILE),
        html.picture(b"", f'">{HOSTILE}'),
    ]
    page = html.page(HOSTILE, *parts)
    assert "<script" not in page
    assert '"">' not in page
    assert page.count("&lt;script&gt;") == 11


def test_what_is_long_is_cut() -> None:
    table = html.table("", ["n", "square"], ((n, n * n) for n in range(1000)))
    assert table.count("<tr>") == 61
    assert "and 940 more rows" in table
    assert len(html.code("7" * 10_000)) < 1_200


def test_numbers_are_on_the_right_and_words_on_the_left() -> None:
    rows = [("a", "1.5e-07", "3 ✗", "word"), ("b", "–", 4, "1")]
    table = html.table("", ["name", "worst", "failed", "note"], rows)
    sides = [part.partition('"')[0] for part in table.split("text-align:")[1:5]]
    assert sides == ["left", "right", "right", "left"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("classes", "one of a, b"),
        ("multilabel", "any labels of a, b"),
        ("regression", "numbers a, b"),
        ("tokens", "one of a, b for each token"),
    ],
)
def test_a_model_in_a_sentence(task: Any, words: str) -> None:
    signature = Signature(vocab_size=9, max_length=4, num_classes=2, min_length=4, task=task)
    said = sentence(signature, Decision(("a", "b"), task=task))
    assert said == f"rows of 4 ids from 0 to 8 → {words}"


def test_rows_of_a_file_in_a_line(root: Path) -> None:
    with open_rows(root / "models" / "demo-held-out.csv") as reader:
        assert repr(reader).endswith("demo-held-out.csv: columns input_ids, label>")
        assert repr(next(iter(reader))) == "<Chunk: rows 1 to 359, 22,976 ids>"


def test_no_bar_outside_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = ModuleType("IPython")
    for shell in (None, object()):
        monkeypatch.setattr(terminal, "get_ipython", lambda shell=shell: shell, raising=False)
        monkeypatch.setitem(sys.modules, "IPython", terminal)
        assert not in_notebook()
        with shown("work", None) as progress:
            assert progress is None
        own: list[object] = []
        with shown("work", own.append) as progress:
            assert progress == own.append
