"""What a label is, which is the same in every format."""

from __future__ import annotations

import re
from typing import Any

from pe_deploy.config import Label

MISSING = ("", "nan", "NaN", "NA", "N/A", "null", "None", "<NA>")
"""The texts that tables are written with where a value is missing."""

_INTEGER = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?")
_TRUE_OR_FALSE = ("true", "false", "True", "False", "TRUE", "FALSE")
_BOOLEANS = {name: name.lower() == "true" for name in _TRUE_OR_FALSE}


def label_of(value: Any) -> Label | None:
    """The label that a cell holds: an integer or text; None where it is missing.

    A whole float is an integer, as pandas makes of integers beside a missing one; a boolean is 0
    or 1.

    Raises:
        ValueError: it holds something else.

    >>> label_of(1.0), label_of(True), label_of("spam"), label_of("NA")
    (1, 1, 'spam', None)
    """
    if value is None or value != value:
        return None
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    if type(value) not in (int, str):
        raise ValueError
    label: Label = value
    return None if isinstance(label, str) and label.strip() in MISSING else label


def of_untyped(labels: list[Label | None]) -> list[Label | None]:
    """The labels of a file that holds text only: integers where each is written as one.

    Written as one are `7`, not `007`, and `7.0`; or each is a boolean, `true` or `False`, which
    are 1 and 0.

    >>> of_untyped(["1", "0.0", None]), of_untyped(["true", "false"]), of_untyped(["1", "x"])
    ([1, 0, None], [1, 0], ['1', 'x'])
    """
    texts = {str(label) for label in labels if label is not None}
    if texts <= _BOOLEANS.keys():
        values: dict[str, int] = {text: int(_BOOLEANS[text]) for text in texts}
    elif all(map(_INTEGER.fullmatch, texts)):
        values = {text: int(text.partition(".")[0]) for text in texts}
    else:
        return labels
    return [None if label is None else values[str(label)] for label in labels]
