"""What people hold in place of an array: columns and frames, what a tokenizer returns, and slips.

Libraries are known by what their values do; none of them is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.config import INPUT_IDS
from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ATTENTION_MASK = "attention_mask"

ALLOWED = "allowed: integers [batch, sequence], as an array or nested lists"
TEXTS = "OSUT"
"""The kinds of dtype that hold text, or any objects."""

_LONGEST_SHOWN = 40
_PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic)


def unwrapped(inputs: Any) -> tuple[Any, Any]:
    """The rows in what was given, as an array or a list, and their attention mask or None.

    Args:
        inputs: anything at all. Of a mapping or a frame with a column `input_ids` that one is
            taken; of a column of lists (pandas, polars, pyarrow, `datasets`) each list is a row.

    Raises:
        InvalidInputError: it holds no rows, and says what it is instead; or a frame has a cell
            that is no integer.
    """
    names = _names_of(inputs)
    if names is not None and INPUT_IDS in names:
        mask = inputs[ATTENTION_MASK] if ATTENTION_MASK in names else None
        return _rows_of(inputs[INPUT_IDS]), mask
    if isinstance(inputs, Mapping):
        keys = ", ".join(map(shown, names or ()))
        raise InvalidInputError(
            f"input_ids is a {_kind(inputs)} without {INPUT_IDS!r}; its keys: {keys}"
        )
    return _rows_of(inputs, names), None


def _names_of(inputs: Any) -> list[Any] | None:
    """The names of the columns of a mapping or of a frame; of anything else None."""
    if isinstance(inputs, Mapping):
        return list(inputs)
    names = getattr(inputs, "column_names", None)  # pyarrow's `columns` are the values
    if not isinstance(names, list):
        names = getattr(inputs, "columns", None)
    return None if names is None or callable(names) else list(names)


def _rows_of(inputs: Any, names: list[Any] | None = None) -> Any:
    if isinstance(inputs, list | tuple):
        return inputs
    if not hasattr(inputs, "__array__"):
        _check_ordered(inputs)
        is_buffer = isinstance(inputs, memoryview)  # which numpy reads, of any dimensions
        return list(inputs) if isinstance(inputs, Sequence) and not is_buffer else inputs
    array = read(inputs)
    if array is None or array.ndim == 0 or is_masked(array):
        return inputs
    if names is not None and array.ndim == 2 and array.dtype.kind not in "iu":
        check_integers(array.tolist(), names=names)
    # numpy makes such an array of a column of lists, and of integers that may be missing.
    return array.tolist() if array.dtype.kind in TEXTS else array


def _check_ordered(inputs: Any) -> None:
    """Refuse what numpy would take for one object, in words of what it is."""
    reason = ""
    if inputs is None or type(inputs) in (int, float, bool):
        reason = shown(inputs)
    elif isinstance(inputs, str | bytes | bytearray):
        reason = f"{shown(inputs)}; {NO_TOKENIZER}"
    elif isinstance(inputs, Set):
        reason = f"a {_kind(inputs)}, which has no order"
    elif isinstance(inputs, Iterator):
        reason = f"a {_kind(inputs)}, which can be read once only; give list(…) of it"
    if reason:
        raise InvalidInputError(f"input_ids is {reason}; {ALLOWED}")


NO_TOKENIZER = "text is taken where there is a tokenizer, in a list of texts alone"


def check_integers(rows: Any, first_row: int = 0, names: Sequence[Any] | None = None) -> None:
    """Refuse the first value in nested lists that is missing, else the first that is no integer.

    Raises:
        InvalidInputError: naming row, column and value.
    """
    check_present(rows, first_row, names)
    _check_none(_is_no_integer, rows, first_row, names)


def check_present(rows: Any, first_row: int = 0, names: Sequence[Any] | None = None) -> None:
    """Refuse the first that is missing: numpy makes floats of the integers beside it.

    Raises:
        InvalidInputError: naming row, column and value.
    """
    _check_none(_is_missing, rows, first_row, names)


def _check_none(
    is_wrong: Callable[[Any], bool], rows: Any, first_row: int, names: Sequence[Any] | None
) -> None:
    for number, row in enumerate(rows, first_row):
        has_values = isinstance(row, list | tuple) or (isinstance(row, np.ndarray) and row.ndim)
        for column, value in enumerate(row if has_values else ()):
            if is_wrong(value):
                where = column if names is None else shown(names[column])
                raise InvalidInputError(
                    f"column {where} has {shown(value)}; allowed: integers", row=number
                )


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _is_no_integer(value: Any) -> bool:
    return is_masked(value) or not is_integer(value)


def is_integer(value: Any) -> bool:
    """Whether it is an integer of Python, of numpy, or of a library that numpy reads; no bool."""
    if type(value) is int:
        return True
    array = read(value)
    return array is not None and array.dtype.kind in "iu"


def check_mask(mask: Any, ids: NDArray[np.int64], pad_id: int | None) -> None:
    """Check that an attention mask has 1 for each token and 0 for padding, as the model sees it.

    Raises:
        InvalidInputError: it differs, of which the first place is named, or is no such array.
    """
    given = _rows_of(mask)
    if isinstance(given, list | tuple):
        given = _padded(given, ids.shape[1])
    array = read(given)
    if array is None or array.shape != ids.shape:
        shape = "not readable" if array is None else f"of shape {array.shape}"
        raise InvalidInputError(
            f"{ATTENTION_MASK} is {shape}; allowed: {ids.shape}, as {INPUT_IDS}"
        )
    wrong = array != (ids != pad_id if pad_id is not None else np.ones_like(ids, bool))
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        is_pad = ids[row, column] == pad_id
        what = f"the padding {pad_id}" if is_pad else f"the token {ids[row, column]}"
        raise InvalidInputError(
            f"column {column} of {ATTENTION_MASK} is {array[row, column]} over {what}; "
            "allowed: 1 over tokens, 0 over padding, which is all that the model masks",
            row=row,
        )


def _padded(rows: Sequence[Any], length: int) -> Any:
    """Rows of differing length filled with 0, as their ids are with padding; others as they are."""
    filled = []
    for row in map(read, rows):
        if row is None or row.ndim != 1 or len(row) > length:
            return rows
        filled.append(np.pad(row, (0, length - len(row))))
    return filled


def read(value: Any) -> NDArray[Any] | None:
    """What numpy makes of a value, which is anything at all; None where it makes nothing of it.

    What the value's own code raises passes through, and so does what a signal handler of the app
    raises meanwhile, unless it is of the very classes that numpy raises.
    """
    try:
        array: NDArray[Any] = np.asanyarray(value)
    except Exception as error:
        kind = type(error)
        if kind in _READING_ERRORS or kind.__module__.startswith("numpy"):
            return None
        raise
    return array


_READING_ERRORS = (
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    UnicodeDecodeError,
    UnicodeEncodeError,
    UserWarning,  # where an app makes errors of warnings
    ValueError,
)


def is_masked(value: Any) -> bool:
    """Whether it is a masked array of numpy."""
    # Asked for, `np.ma` is imported, for 7 ms; what is not imported has no instances.
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)


def shown(value: Any) -> str:
    """A plain value as an error shows it; of anything else, its kind."""
    if not isinstance(value, _PLAIN):
        return "<NA>" if _is_missing(value) else f"a {_kind(value)}"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return "an integer of many digits"  # Python may refuse to write them
    if isinstance(value, str | bytes) and len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]!r}…"
    return repr(value.item() if isinstance(value, np.generic) else value)


def _kind(value: Any) -> str:
    return type(value).__name__
