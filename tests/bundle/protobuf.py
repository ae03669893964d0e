"""Protobuf by hand: messages that no writer of ONNX makes."""

from __future__ import annotations

from typing import Any

import numpy as np


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def fields_of(data: bytes) -> dict[int, bytes]:
    """The last content of each delimited field of a message that is known to be good."""
    found, at = {}, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value

    while at < len(data):
        tag, size = number(), number()
        if tag & 7 == 2:
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


def tensor(name: str = "w", kind: int = 1, *parts: bytes, dims: tuple[int, ...] = (2,)) -> bytes:
    return b"".join(whole(1, dim) for dim in dims) + whole(2, kind) + delimited(
        8, name.encode()
    ) + b"".join(parts)  # fmt: skip


def model(*initializers: bytes, nodes: bytes = b"") -> bytes:
    return delimited(7, nodes + b"".join(delimited(5, each) for each in initializers))


def raw(values: Any, dtype: str = "<f4") -> bytes:
    return delimited(9, np.array(values).astype(dtype).tobytes())
