"""Check an input before an engine sees it, and bring it into the one form that engines take.

onnxruntime aborts the process on an empty batch or sequence, and reads negative ids as other
tokens; so nothing that is not plainly right may pass. The texts are the ones that the eager model
uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.errors import InvalidInputError
from pe_deploy.runtime.given import (
    ALLOWED,
    NO_TOKENIZER,
    TEXTS,
    check_integers,
    check_mask,
    check_present,
    is_integer,
    is_masked,
    read,
    shown,
    unwrapped,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.config import Signature


def to_input_ids(inputs: Any, signature: Signature) -> NDArray[np.int64]:
    """Convert an input to int64 `[batch, sequence]` and check every id.

    Args:
        inputs: integers `[batch, sequence]` of any integer dtype, as an array or nested lists;
            where the signature has a `pad_id`, also rows of differing length, which are padded.
            Also a frame of integers or a column of lists, of pandas, polars, pyarrow or
            `datasets`, and a mapping or a frame with `input_ids`, as a tokenizer returns it; its
            `attention_mask` has to be of the tokens and not of the padding.
        signature: the ranges that the model allows.

    Returns:
        int64 `[batch, sequence]`, C-contiguous; a batch of no rows gives shape `[0, 0]`.

    Raises:
        InvalidInputError: another rank or dtype, a row of fewer tokens than `min_length` or longer
            than `max_length`, an id outside the vocabulary, or padding anywhere but at the end of
            a row.
    """
    mask = None
    if type(inputs) is np.ndarray and inputs.dtype.kind != "O":
        given: NDArray[Any] | list[NDArray[Any]] = inputs
    else:
        if type(inputs) is not list:
            inputs, mask = unwrapped(inputs)
        given = _to_array(inputs, signature.vocab_size)
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
    if mask is not None:
        check_mask(mask, ids, signature.pad_id)
    return ids


def _to_array(inputs: Any, vocab_size: int) -> NDArray[Any] | list[NDArray[Any]]:
    """One array, or a list of one-dimensional arrays where rows differ in length."""
    nested = isinstance(inputs, list | tuple)
    if any(map(is_masked, inputs if nested else ())):
        raise InvalidInputError(_MASKED)
    array = read(inputs)
    if array is None and nested:  # numpy's answer to rows of differing length
        return _to_rows(inputs, vocab_size)
    if array is None:
        raise InvalidInputError(f"input_ids {_unreadable(inputs)}")
    if is_masked(array):
        raise InvalidInputError(_MASKED)
    if nested and array.ndim == 2 and array.dtype.kind in "iu":
        for number, row in enumerate(inputs):
            _check_members(number, row)
    elif nested and array.size and (array.ndim == 2 or array.dtype.kind in TEXTS):
        return _to_rows(inputs, vocab_size)
    if array.ndim == 0 and array.dtype.kind == "O":
        raise InvalidInputError(f"input_ids is {shown(inputs)}; {ALLOWED}")
    return np.asarray(array)


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


def _to_rows(rows: Any, vocab_size: int) -> list[NDArray[Any]]:
    try:
        return [_to_row(number, row, vocab_size) for number, row in enumerate(rows)]
    except InvalidInputError:
        check_present(rows)  # in whatever row, it is to blame for the floats of others
        raise


def _to_row(number: int, row: Any, vocab_size: int) -> NDArray[Any]:
    array = read(row)
    if array is None or array.ndim != 1:
        if isinstance(row, str | bytes):
            raise InvalidInputError(f"is {shown(row)}; {NO_TOKENIZER}", row=number)
        what = "" if isinstance(row, list | tuple) else f"{shown(row)}, "
        raise InvalidInputError(f"is {what}not a list of ids", row=number)
    if array.size:
        _check_members(number, row)
        if array.dtype.kind not in "iu":  # as where a missing value may be, or one is too large
            for column, value in enumerate(array.tolist() if array.dtype.kind == "O" else row):
                if not 0 <= value < vocab_size:
                    raise InvalidInputError(
                        f"column {column} has id {shown(value)}; allowed: 0 to {vocab_size - 1}",
                        row=number,
                    )
            array = array.astype(np.int64)
    return array


def _check_members(number: int, row: Any) -> None:
    """Refuse what numpy takes for an integer among integers, and is none: `[1, True]`."""
    if hasattr(row, "__array__"):
        if is_integer(row):
            return
        row = np.asarray(row).tolist()
    if not set(map(type, row)) <= {int}:
        check_integers([list(row)], number)


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
