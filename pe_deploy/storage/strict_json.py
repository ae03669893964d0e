"""JSON from a stranger: what could be read in two ways, or costs more than it says, is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEEPEST = 32
# To the end of the text where nothing closes it: tried from each quote anew, it would take hours.
_STRING = re.compile(r'"[^"\\]*(?:\\(?:.|\Z)[^"\\]*)*(?:"|\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def loads(data: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises:
        ValueError: it is not JSON, names a key twice, is nested deeper than 32 levels, or holds a
            number that is not finite or a text that is not Unicode.
    """
    text = data.decode()
    _check_depth(text)
    values = _DECODER.decode(text)
    if "\\u" in text:
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair has no UTF-8
    return values


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same JSON: unlike `==`, which takes 1, 1.0 and true for one."""
    return _ENCODER.encode(first) == _ENCODER.encode(second)


def _check_depth(text: str) -> None:
    # Before the parser sees it, which would recurse.
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"key {key[:100]!r} occurs twice")
        values[key] = value
    return values


def _int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant
)
_ENCODER = json.JSONEncoder(sort_keys=True)
