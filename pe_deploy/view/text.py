"""Values in a line of text that stays short however many there are."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 40


def few(values: Sequence[object], most: int = 8) -> str:
    """The first of some values, each cut where it is long, and how many more there are.

    >>> few(range(12), most=3)
    '0, 1, 2 and 9 more'
    """
    rest = len(values) - most
    shown = ", ".join(cut(str(value), _LONGEST) for value in values[:most])
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def cut(text: str, longest: int) -> str:
    """A text of at most so many printable characters, in one line; `…` stands for its rest."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(character if character.isprintable() else "�" for character in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
