"""What each field of a manifest may hold, throughout: whoever reads one later need not look."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pe_deploy.bundle.artifacts import may_be_listed

_MOST_SHOWN = 200

Allowed = Callable[[Any], bool]


def check_fields(values: Mapping[str, Any]) -> None:
    """Check each field that has a type of its own.

    Raises:
        ValueError: naming the first that is missing or holds something else.
    """
    for name, allowed in _FIELDS.items():
        if name not in values:
            raise ValueError(f"{name} is missing")
        if not allowed(values[name]):
            raise ValueError(f"{name} is {_shown(values[name])}")
    for name, record in values["files"].items():
        if not may_be_listed(name):
            raise ValueError(f"files lists {_shown(name)}; allowed: a plain name in the folder")
        if not _is_record(record):
            raise ValueError(f"the record of {name} is {_shown(record)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_positive(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"size", "sha256"}
        and _is_count(value["size"])
        and _is_sha256(value["sha256"])
    )


def _object_of(allowed: Allowed) -> Allowed:
    return lambda value: isinstance(value, dict) and all(map(allowed, value.values()))


def _is_parity(value: Any) -> bool:
    return isinstance(value, dict) and all(
        allowed(value[name]) for name, allowed in _PARITY.items() if name in value
    )


def _is_floors(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"by_length", "least"}
        and _is_number(value["least"])
        and _object_of(_is_number)(value["by_length"])
        and all(length.isdecimal() for length in value["by_length"])
    )


_PARITY: dict[str, Allowed] = {
    "passed": lambda value: isinstance(value, bool),
    "cells": _is_count,
    "worst_difference": _is_number,
    "floor": _is_number,
    "floors": _is_floors,
    "tolerance": _is_text,
}
"""What is read from it; it may say more."""

_DISPATCH: dict[str, Allowed] = {
    "crossover": lambda value: value is None or _is_positive(value),
    "chunk_rows": lambda value: _is_positive(value),
    "share_rows": lambda value: _is_positive(value),
    "own_threads": lambda value: isinstance(value, bool),
}

_FIELDS: dict[str, Allowed] = {
    "signature": _is_object,
    "labels": lambda value: isinstance(value, list),
    "weights_sha256": _is_sha256,
    "model": lambda value: value is None or isinstance(value, dict),
    "versions": _object_of(lambda value: _is_text(value) or type(value) is int),
    "operators": _object_of(_is_count),
    "dispatch": lambda value: (
        isinstance(value, dict)
        and value.keys() == _DISPATCH.keys()
        and all(allowed(value[name]) for name, allowed in _DISPATCH.items())
    ),
    "parity": _is_parity,
    "files": _is_object,
}


def _shown(value: Any) -> str:
    return repr(value)[:_MOST_SHOWN]
