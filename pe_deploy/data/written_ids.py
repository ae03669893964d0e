"""A list of ids that is written as text, in each way that tables are written with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

_BRACKETS = ("[]", "()")
_OF_NUMPY = re.compile(r"np\.u?int\d+\((.*?)\)")
_NOT_PLAIN = ",[]()"
_INTEGER = re.compile(r"[+-]?[0-9]+")


class Notation(NamedTuple):
    """How the members of lists are written that should be integers.

    Attributes:
        integers: those of all rows, one after the other; a ValueError where one is no integer.
        is_integer: whether this one is.
        shown: what it is in an error.
    """

    integers: Callable[[list[list[Any]]], Iterable[int]]
    is_integer: Callable[[Any], bool]
    shown: Callable[[Any], str]


def _integers(rows: list[list[str]]) -> Iterable[int]:
    # Python's int() would read 1_000 and the digits of other scripts, too.
    text = "".join(chain.from_iterable(rows))
    if "_" in text or not text.isascii():
        raise ValueError
    return map(int, chain.from_iterable(rows))


AS_TEXT = Notation(_integers, lambda text: _INTEGER.fullmatch(text) is not None, repr)
"""Of members that are text."""


def members_of(cells: Iterable[str]) -> list[list[str]]:
    """The members of each list, not yet known to be integers.

    They are separated by white space, `1 2 3`, or by commas, `1, 2, 3`, either of which may be in
    brackets, as Python, pandas and numpy write lists.

    >>> members_of(["1 2", "[1, 2]", "[1 2]", "1,2", "(1, 2)", "[np.int64(1), np.int64(2)]", "[]"])
    [['1', '2'], ['1', '2'], ['1', '2'], ['1', '2'], ['1', '2'], ['1', '2'], []]
    """
    cells = list(cells)
    text = "".join(cells)
    if not any(character in text for character in _NOT_PLAIN):
        return [cell.split() for cell in cells]
    return list(map(_members, cells))


def _members(cell: str) -> list[str]:
    text = _OF_NUMPY.sub(r"\1", cell).strip()
    if text[:1] + text[-1:] in _BRACKETS:
        text = text[1:-1]
    if "," not in text:
        return text.split()
    members = [member.strip() for member in text.split(",")]
    return members if members[-1] else members[:-1]  # Python's (1,)
