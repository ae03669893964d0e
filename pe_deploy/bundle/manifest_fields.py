"""What each field of a manifest may hold, throughout: whoever reads one later need not look."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pe_deploy.bundle.artifacts import may_be_listed
from pe_deploy.config import CompactDtype

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
    if not _is_origin(values.get("origin")):
        raise ValueError(f"origin is {_shown(values['origin'])}")
    if type(values.get("text", {})) is not dict:
        raise ValueError(f"text is {_shown(values['text'])}")
    if "compact" in values and not _is_compact(values["compact"]):
        raise ValueError(f"compact is {_shown(values['compact'])}")
    for name, record in values["files"].items():
        if not may_be_listed(name):
            raise ValueError(f"files lists {_shown(name)}; allowed: a plain name in the folder")
        if not _is_record(record):
            raise ValueError(f"the record of {name} is {_shown(record)}")


def _is(*types: type) -> Allowed:
    """Of just one of these types: a bool is no int."""
    return lambda value: type(value) in types


def _is_at_least(lowest: int, *types: type) -> Allowed:
    return lambda value: type(value) in types and value >= lowest


def _each(allowed: Allowed) -> Allowed:
    return lambda value: type(value) is dict and all(map(allowed, value.values()))


def _just(fields: Mapping[str, Allowed]) -> Allowed:
    """An object of these fields and no other."""
    return lambda value: (
        type(value) is dict
        and value.keys() == fields.keys()
        and all(allowed(value[name]) for name, allowed in fields.items())
    )


def _is_sha256(value: Any) -> bool:
    return type(value) is str and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_parity(value: Any) -> bool:
    return type(value) is dict and all(
        allowed(value[name]) for name, allowed in _PARITY.items() if name in value
    )


def _is_origin(value: Any) -> bool:
    """Texts, and a list of them under `computed_inputs`; or nothing."""
    if value is None:
        return True
    if type(value) is not dict:
        return False
    lists = {"computed_inputs"}
    return all(
        type(each) is list and all(type(text) is str for text in each)
        if name in lists
        else type(each) is str
        for name, each in value.items()
    )


def _is_by_length(value: Any) -> bool:
    return _each(_is_number)(value) and all(map(str.isdecimal, value))


def _shown(value: Any) -> str:
    return repr(value)[:200]


_is_count = _is_at_least(0, int)
_is_number = _is_at_least(0, int, float)
_is_record = _just({"size": _is_count, "sha256": _is_sha256})

_PARITY: Mapping[str, Allowed] = {
    "passed": _is(bool),
    "cells": _is_count,
    "worst_difference": _is_number,
    "floor": _is_number,
    "floors": _just({"by_length": _is_by_length, "least": _is_number}),
    "tolerance": _is(str),
}
"""What is read from it; it may say more."""

_DISPATCH: Mapping[str, Allowed] = {
    "crossover": lambda value: value is None or _is_at_least(1, int)(value),
    "chunk_rows": _is_at_least(1, int),
    "share_rows": _is_at_least(1, int),
    "own_threads": _is(bool),
}

_is_compact = _just(
    {
        "dtype": lambda value: value in get_args(CompactDtype),
        "trained_sha256": _is_sha256,
        "allow_flips": lambda value: value is None or (_is_number(value) and value <= 1),
    }
)

_FIELDS: Mapping[str, Allowed] = {
    "signature": _is(dict),
    "labels": _is(list),
    "weights_sha256": _is_sha256,
    "model": _is(dict, type(None)),
    "versions": _each(_is(str, int)),
    "operators": _each(_is_count),
    "dispatch": _just(_DISPATCH),
    "parity": _is_parity,
    "files": _is(dict),
}
