"""Whether what a caller gives are texts, and as what list."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from pe_deploy.errors import InvalidInputError

_COLUMNS = ("pandas", "polars", "pyarrow")
"""The packages whose columns are taken."""

_METHODS = ("to_list", "to_pylist", "tolist")
"""Those by which a column gives Python's own values."""


def texts_of(given: Any) -> list[Any] | None:
    """What is to be read as texts, one for each row; None where it is rows of ids, or nothing.

    A list of single things is one of texts, whatever these are: who encodes them finds out.

    Raises:
        InvalidInputError: it is one text alone, or a table of texts.
    """
    kind = type(given)
    if kind is list or kind is tuple:
        return list(given) if given and _is_single(given[0]) else None
    if isinstance(given, str):
        raise InvalidInputError(
            f"given is one text, {given[:40]!r}; allowed: a list of texts, as [text]"
        )
    if isinstance(given, np.ndarray):
        return _of_an_array(given)
    if kind.__module__.split(".")[0] in _COLUMNS:
        convert = next((getattr(given, name) for name in _METHODS if hasattr(given, name)), None)
        if convert is None or getattr(given, "columns", None) is not None:
            return None  # a table
        return texts_of(convert())
    if isinstance(given, Sequence | deque) and not isinstance(given, bytes | bytearray | range):
        return texts_of(list(given))
    return None


def _of_an_array(given: Any) -> list[Any] | None:
    if given.dtype.kind not in "OSTU":
        return None
    if given.ndim == 1:
        return texts_of(given.tolist()) if given.dtype.kind == "O" else list(given.tolist())
    if given.size and isinstance(given.flat[0], str):
        raise InvalidInputError(
            f"given is text of shape {list(given.shape)}; allowed: one text a row, [batch]"
        )
    return None


def _is_single(value: Any) -> bool:
    """Whether it is no row of ids: a text, a number, None, NaN."""
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")
