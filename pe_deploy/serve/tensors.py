"""An inference request of the Open Inference Protocol v2, and what it holds as rows for a model.

Both wires make the same `InferRequest`: a tensor's values are a list, from JSON or from the typed
fields of a message, or bytes, from the binary extension or raw contents: little-endian, row-major,
and each text behind its length in 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.runtime.given import shown
from pe_deploy.serve.refusal import Refusal

TEXT = "text"

MOST_BYTES = 16 * 2**20
"""Of a request."""

DTYPES: dict[str, str] = {
    "INT64": "<i8",
    "INT32": "<i4",
    "INT16": "<i2",
    "INT8": "<i1",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "UINT8": "<u1",
}
"""The dtype of each datatype that ids may have."""

_LENGTH = struct.Struct("<I")


class Tensor(NamedTuple):
    """An input as it was sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[Any] | bytes


class Wanted(NamedTuple):
    """An output that is asked for, as bytes or as values."""

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """What is asked.

    Attributes:
        id: which the answer repeats.
        inputs: as they were sent.
        outputs: those that are asked for, in order; none for all.
        binary: whether outputs are bytes where none is asked for by name.
    """

    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Wanted, ...] = ()
    binary: bool = False


def rows_of(request: InferRequest, takes_text: bool, most_rows: int) -> Any:
    """The rows of a request, as a classifier takes them; it checks the ids and texts themselves.

    Returns:
        Integers `[batch, sequence]`, as an array or nested lists, or a list of texts.

    Raises:
        Refusal: another input than the model's, or more than one; a datatype, shape or number of
            values that does not fit; no rows, or more than allowed.
    """
    names = (INPUT_IDS, TEXT) if takes_text else (INPUT_IDS,)
    if len(request.inputs) != 1 or request.inputs[0].name not in names:
        given = ", ".join(shown(tensor.name) for tensor in request.inputs) or "none"
        raise Refusal("invalid", f"inputs are {given}; allowed: one of {', '.join(names)}")
    tensor = request.inputs[0]
    return _texts(tensor, most_rows) if tensor.name == TEXT else _ids(tensor, most_rows)


def check_rows(rows: int, most_rows: int) -> None:
    """Check how many rows a request has.

    Raises:
        Refusal: none, or more than allowed.
    """
    if not 1 <= rows <= most_rows:
        raise Refusal("invalid", f"batch is {rows}; allowed: 1 to {most_rows} rows")


def packed_texts(texts: Sequence[str]) -> bytes:
    """Texts in UTF-8, each behind its length in 4 bytes, little-endian."""
    encoded = (text.encode() for text in texts)
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def raw(values: NDArray[Any]) -> bytes:
    """A tensor's bytes."""
    if values.dtype.kind == "U":
        return packed_texts(values.ravel().tolist())
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _ids(tensor: Tensor, most_rows: int) -> NDArray[Any] | list[Any]:
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise Refusal(
            "invalid",
            f"{INPUT_IDS} has datatype {shown(tensor.datatype)}; allowed: {', '.join(DTYPES)}",
        )
    if len(tensor.shape) != 2 or min(tensor.shape) < 0:
        raise Refusal(
            "invalid", f"{INPUT_IDS} has shape {list(tensor.shape)}; allowed: [batch, sequence]"
        )
    batch, sequence = tensor.shape
    check_rows(batch, most_rows)
    if isinstance(tensor.values, bytes):
        stated = batch * sequence * np.dtype(dtype).itemsize
        if len(tensor.values) != stated:
            raise Refusal(
                "invalid",
                f"{INPUT_IDS} has {len(tensor.values)} bytes; allowed: {stated}, as its shape "
                f"{list(tensor.shape)} and datatype {tensor.datatype} state",
            )
        return np.frombuffer(tensor.values, dtype).reshape(batch, sequence)
    values = tensor.values
    if values and isinstance(values[0], list):
        lengths = [len(row) if isinstance(row, list) else -1 for row in values]
        if lengths != [sequence] * batch:
            raise _miscounted(tensor, f"{len(values)} rows of {_spread(lengths)} values")
        return values
    if len(values) != batch * sequence:
        raise _miscounted(tensor, f"{len(values)} values")
    return [values[row * sequence : (row + 1) * sequence] for row in range(batch)]


def _texts(tensor: Tensor, most_rows: int) -> list[str]:
    if tensor.datatype != "BYTES":
        raise Refusal("invalid", f"{TEXT} has datatype {shown(tensor.datatype)}; allowed: BYTES")
    # Clients of a batching server send one text a row as [batch, 1].
    if len(tensor.shape) not in (1, 2) or min(tensor.shape) < 0 or tensor.shape[1:] > (1,):
        raise Refusal("invalid", f"{TEXT} has shape {list(tensor.shape)}; allowed: [batch]")
    check_rows(prod(tensor.shape), most_rows)
    values = tensor.values
    found = _unpacked(values) if isinstance(values, bytes) else _flat(values)
    if len(found) != prod(tensor.shape):
        raise _miscounted(tensor, f"{len(found)} texts")
    return [_decoded(row, text) for row, text in enumerate(found)]


def _flat(values: list[Any]) -> list[Any]:
    nested = bool(values) and all(isinstance(row, list) and len(row) == 1 for row in values)
    return [row[0] for row in values] if nested else values


def _decoded(row: int, text: Any) -> Any:
    """A text; a single thing that is none is for the encoder to refuse, in its words."""
    if isinstance(text, list | dict):
        raise Refusal("invalid", f"row {row}: is {shown(text)}; allowed: text")
    if not isinstance(text, bytes):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        line = f"row {row}: is not UTF-8 at byte {error.start}; allowed: text in UTF-8"
        raise Refusal("invalid", line) from error


def _unpacked(data: bytes) -> list[bytes]:
    texts: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        stated = _LENGTH.unpack_from(data, at)[0] if start <= len(data) else None
        if stated is None or start + stated > len(data):
            raise Refusal(
                "invalid",
                f"row {len(texts)}: its text goes beyond the {len(data)} bytes of {TEXT}; allowed: "
                "each text behind its length in 4 bytes",
            )
        at = start + stated
        texts.append(data[start:at])
    return texts


def _spread(lengths: list[int]) -> str:
    lowest, highest = min(lengths), max(lengths)
    return str(lowest) if lowest == highest else f"{max(lowest, 0)} to {highest}"


def _miscounted(tensor: Tensor, found: str) -> Refusal:
    shape = list(tensor.shape)
    return Refusal("invalid", f"{tensor.name} has {found}; its shape is {shape}")
