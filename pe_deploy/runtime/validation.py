"""Check an input before an engine sees it, and bring it into the one form that engines take.

onnxruntime aborts the process on an empty batch or sequence, and reads negative ids as other
tokens; so nothing that is not plainly right may pass. The texts are the ones that the eager model
uses.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.config import Signature


def to_input_ids(inputs: Any, signature: Signature) -> NDArray[np.int64]:
    """Convert an input to int64 `[batch, sequence]` and check every id.

    Args:
        inputs: integers `[batch, sequence]` of any integer dtype, as an array or nested lists;
            where the signature has a `pad_id`, also rows of differing length, which are padded.
        signature: the ranges that the model allows.

    Returns:
        int64 `[batch, sequence]`, C-contiguous; a batch of no rows gives shape `[0, 0]`.

    Raises:
        InvalidInputError: another rank or dtype, a row of fewer tokens than `min_length` or longer
            than `max_length`, an id outside the vocabulary, or padding anywhere but at the end of
            a row.
    """
    given = inputs if type(inputs) is np.ndarray else _to_array(inputs)
    if isinstance(given, list):
        ids = _pad(given, signature)
    else:
        if given.shape == (0,) and given.dtype == np.float64:  # what numpy makes of []
            given = np.empty((0, 0), np.int64)
        _check_form(given, signature)
        if len(given) == 0:
            return np.empty((0, 0), np.int64)
        ids = np.ascontiguousarray(given, dtype=np.int64)
        _check_range(given, ids, signature.vocab_size)
    if signature.pad_id is not None:
        _check_padding(ids, signature.pad_id, signature)
    return ids


def _to_array(inputs: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """One array, or a list of one-dimensional arrays where rows differ in length."""
    nested = isinstance(inputs, list | tuple)
    if any(map(_is_masked, inputs if nested else ())):
        raise InvalidInputError(_MASKED)
    array = _read(inputs)
    if array is None and nested:  # numpy's answer to rows of differing length
        return [_to_row(number, row) for number, row in enumerate(inputs)]
    if array is None:
        raise InvalidInputError(f"input_ids {_unreadable(inputs)}")
    if _is_masked(array):
        raise InvalidInputError(_MASKED)
    if array.ndim == 2 and array.dtype.kind in "iu" and not hasattr(inputs, "__array__"):
        for number, row in enumerate(inputs):
            _check_members(number, row)
    return np.asarray(array)


def _read(value: Any) -> NDArray[Any] | None:
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


def _is_masked(value: Any) -> bool:
    # Asked for, `np.ma` is imported, for 7 ms; what is not imported has no instances.
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)


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

_MASKED = "input_ids is a masked array; allowed: an array without a mask"


def _unreadable(inputs: Any) -> str:
    """Why something that is neither an array nor nested lists is refused, in one line."""
    # A tensor that asks for gradients, or of a dtype that numpy does not know, as bfloat16.
    is_tensor = type(inputs).__module__.split(".")[0] == "torch"
    dtype = str(getattr(inputs, "dtype", "")).removeprefix("torch.") if is_tensor else ""
    if dtype and "int" not in dtype:
        return f"has dtype {dtype}; allowed: an integer dtype"
    return (
        f"is {type(inputs).__name__}, which cannot be read as an array; "
        "allowed: an array or nested lists of integers"
    )


def _to_row(number: int, row: Any) -> NDArray[Any]:
    array = _read(row)
    if array is None or array.ndim != 1:
        raise InvalidInputError("is not a list of ids", row=number)
    if array.size and array.dtype.kind not in "iu":
        raise InvalidInputError(f"has dtype {array.dtype}; allowed: an integer dtype", row=number)
    _check_members(number, row)
    return array


def _check_members(number: int, row: Any) -> None:
    """Refuse what numpy takes for an integer among integers, and is none: `[1, True]`."""
    if hasattr(row, "__array__"):
        if not _is_integer(row):
            raise InvalidInputError("is not a list of ids", row=number)
        return
    if set(map(type, row)) <= {int}:
        return
    for column, value in enumerate(row):
        if _is_masked(value) or not _is_integer(value):
            raise InvalidInputError(
                f"column {column} has {type(value).__name__}; allowed: integers", row=number
            )


def _is_integer(value: Any) -> bool:
    array = _read(value)
    return array is not None and array.dtype.kind in "iu"


def check_lengths(
    lengths: NDArray[np.int64], first: int, first_row: str, signature: Signature
) -> None:
    """Check how many ids each row has: without a `pad_id`, `first`, as the `first_row` has.

    Raises:
        InvalidInputError: naming the first row with too few, too many, or other than the first.
    """
    _check_sizes(lengths, signature)
    odd = lengths != first
    if signature.pad_id is None and odd.any():
        row = int(odd.argmax())
        raise InvalidInputError(
            f"has {lengths[row]} ids where {first_row} has {first}; "
            "rows of differing length need a model with a pad_id",
            row=row,
        )


def _check_sizes(lengths: NDArray[np.int64], signature: Signature) -> None:
    shortest, longest = signature.min_length, signature.max_length
    wrong = (lengths < shortest) | (lengths > longest)
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidInputError(
            f"has {lengths[row]} ids; allowed: {shortest} to {longest}", row=row
        )


def _pad(rows: list[NDArray[Any]], signature: Signature) -> NDArray[np.int64]:
    """Join checked rows of differing length to one array."""
    lengths = np.array([len(row) for row in rows])
    check_lengths(lengths, int(lengths[0]), "row 0", signature)
    padded = np.full((len(rows), lengths.max()), signature.pad_id or 0, np.int64)
    for number, given in enumerate(rows):
        ids = given.astype(np.int64)
        _check_range(given[None], ids[None], signature.vocab_size, number)
        padded[number, : len(ids)] = ids
    return padded


def _check_form(array: NDArray[Any], signature: Signature) -> None:
    if array.ndim != 2:
        raise InvalidInputError(
            f"input_ids has {array.ndim} dimensions; allowed: 2, [batch, sequence]"
        )
    rows, columns = array.shape
    shortest, longest = signature.min_length, signature.max_length
    if rows and not shortest <= columns <= longest:
        raise InvalidInputError(
            f"input_ids has {columns} columns; allowed: {shortest} to {longest}"
        )
    if array.dtype.kind not in "iu":
        raise InvalidInputError(f"input_ids has dtype {array.dtype}; allowed: an integer dtype")


def _check_range(
    given: NDArray[Any], ids: NDArray[np.int64], vocab_size: int, first_row: int = 0
) -> None:
    # Seen as unsigned, a negative id is a huge one: one pass finds both. A uint64 over the int64
    # range has become negative in `ids`, so it is found too.
    unsigned = ids.view(np.uint64)
    if np.maximum.reduce(unsigned, axis=None) < vocab_size:
        return
    row, column = divmod(int((unsigned >= vocab_size).argmax()), ids.shape[1])
    raise InvalidInputError(
        f"column {column} has id {given[row, column]}; allowed: 0 to {vocab_size - 1}",
        row=first_row + row,
    )


def _check_padding(ids: NDArray[np.int64], pad_id: int, signature: Signature) -> None:
    is_pad = ids == pad_id
    if not np.logical_or.reduce(is_pad, axis=None):
        return
    empty = is_pad.all(axis=1)
    misplaced = (is_pad[:, :-1] & ~is_pad[:, 1:]).any(axis=1)  # a token follows a pad
    wrong = empty | misplaced
    if wrong.any():
        row = int(wrong.argmax())
        reason = (
            f"every id is pad_id {pad_id}; allowed: at least one token"
            if empty[row]
            else f"column {is_pad[row].argmax()} has pad_id {pad_id} before the row's last token; "
            "allowed: padding on the right only"
        )
        raise InvalidInputError(reason, row=row)
    if signature.min_length > 1:
        _check_sizes(ids.shape[1] - is_pad.sum(axis=1), signature)
