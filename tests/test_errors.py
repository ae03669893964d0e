"""What an error says is one line that a terminal can show, whatever a file brought into it."""

from __future__ import annotations

import pickle

import pytest

from pe_deploy import BundleError, InvalidInputError, MissingDependencyError, PeDeployError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u2028\ud800\u202e", r"\u2028\ud800\u202e"),
        ("4 × é 日本", "4 × é 日本"),
        ("\\n", "\\n"),
        ("x" * 2000, "x" * 2000),
        ("x" * 2001, "x" * 2000 + "…"),
        ("\0" * 10_000_000, r"\x00" * 500 + "…"),
    ],
)
def test_a_message_is_one_printable_line(text: str, shown: str) -> None:
    assert str(PeDeployError(text)) == shown
    assert str(InvalidInputError(text, row=3))[:1000] == f"row 3: {shown}"[:1000]


def test_errors_come_back_from_another_process() -> None:
    missing = MissingDependencyError("torch is not installed", name="torch")
    for error in (BundleError("a\nb"), missing):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert str(back) == str(error)
    assert missing.name == "torch"
