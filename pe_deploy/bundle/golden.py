"""`golden.npz`: inputs and the logits that torch gave for them, replayed without torch."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.names import GOLDEN, MIB
from pe_deploy.bundle.plain_zip import PlainZip
from pe_deploy.errors import BundleError

LARGEST_UNPACKED = 1024 * MIB
"""The most bytes that the arrays may have together."""

_WEIGHTS = "weights_sha256"
_NUMBERS = ("input_ids", "float64", "float32")
_DECISIONS = ("labels", "targets")

# The header as numpy writes it, for arrays of numbers and of text. Read by numpy, it would be
# evaluated as Python, might name any dtype, and could state a shape that is not there.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype><i8|<i4|<f8|<f4|\|u1|<U[1-9]\d{0,6})', "
    rb"'fortran_order': False, 'shape': \((?P<shape>[\d, ]{1,200})\), \} *\n",
    re.DOTALL,
)
_LARGEST_CHARACTER = 0x10FFFF


@dataclass(frozen=True)
class GoldenCase:
    """One batch and its reference logits.

    Attributes:
        input_ids: int64 `[batch, sequence]`.
        float64: logits of the model run in float64: as good as exact.
        float32: logits of the model run in float32, as it was trained.
        labels: `[batch]`, the labels that the model's decision gave; None where not recorded.
        targets: int64 `[batch]`, the index of each row's true label; None where there is none.
    """

    input_ids: NDArray[np.int64]
    float64: NDArray[np.float64]
    float32: NDArray[np.float32]
    labels: NDArray[Any] | None = None
    targets: NDArray[np.int64] | None = None

    @property
    def rounding(self) -> float:
        """The largest error that float32 torch makes itself."""
        return float(np.abs(self.float32 - self.float64).max())


def golden_to_bytes(cases: Sequence[GoldenCase], weights_sha256: str) -> bytes:
    """The bytes of `golden.npz`; the same cases of the same weights give the same bytes.

    Args:
        cases: inputs and logits.
        weights_sha256: digest of the weights that gave the logits, 64 hexadecimal digits.
    """
    arrays: dict[str, NDArray[Any]] = {
        _WEIGHTS: np.frombuffer(bytes.fromhex(weights_sha256), np.uint8)
    }
    for index, case in enumerate(cases):
        for name in (*_NUMBERS, *_DECISIONS):
            array = getattr(case, name)
            if array is not None:
                arrays[f"{index:03}.{name}"] = np.ascontiguousarray(array)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def golden_weights(data: bytes) -> str:
    """The digest of the weights that gave the logits, without reading any of these.

    Raises:
        BundleError: it is no plain archive, or states no digest.
    """
    return _weights(_open(data))


def golden_from_bytes(data: bytes) -> list[GoldenCase]:
    """Read `golden.npz`.

    Raises:
        BundleError: it is no plain archive, has over 1 GiB in it, holds anything but arrays of
            numbers and text, or these do not fit together.
    """
    archive = _open(data)
    _weights(archive)
    arrays = {
        member.removesuffix(".npy"): _array(archive, member)
        for member in archive.members
        if member != f"{_WEIGHTS}.npy"
    }
    cases: list[GoldenCase] = []
    while f"{len(cases):03}.{_NUMBERS[0]}" in arrays:
        cases.append(_case(len(cases), arrays))
    if not cases or arrays:
        raise BundleError(
            f"{GOLDEN} holds {len(cases)} cases and {_some(arrays)} beside them; "
            "allowed: 1 case or more, and nothing beside"
        )
    return cases


def _open(data: bytes) -> PlainZip:
    return PlainZip(data, GOLDEN, LARGEST_UNPACKED)


def _weights(archive: PlainZip) -> str:
    array = _array(archive, f"{_WEIGHTS}.npy")
    if array.dtype != np.uint8 or array.shape != (32,):
        raise BundleError(
            f"{GOLDEN}: {_WEIGHTS} is {array.dtype} {list(array.shape)}; allowed: uint8 [32]"
        )
    return array.tobytes().hex()


def _array(archive: PlainZip, member: str) -> NDArray[Any]:
    """An array whose header states just what follows it."""
    content = archive.read(member)
    header = _HEADER.match(content)
    if header is None or int.from_bytes(header["length"], "little") != header.end() - 10:
        raise BundleError(
            f"{GOLDEN}: {member[:100]!r} is malformed; allowed: an array of numbers or text"
        )
    dtype = np.dtype(header["dtype"].decode())
    try:
        shape = tuple(int(size) for size in header["shape"].decode().split(",") if size.strip())
        if math.prod(shape) * dtype.itemsize != len(content) - header.end():
            raise ValueError(f"{len(content) - header.end()} bytes for {dtype} {list(shape)}")
        # Copied, because torch takes no array that it might not write to.
        array = np.frombuffer(content, dtype, offset=header.end()).reshape(shape).copy()
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{GOLDEN}: {member[:100]!r} is malformed: {error}") from error
    if dtype.kind == "U" and (array.reshape(-1).view(np.uint32) > _LARGEST_CHARACTER).any():
        raise BundleError(f"{GOLDEN}: {member[:100]!r} holds what is no text")
    return array


def _case(index: int, arrays: dict[str, NDArray[Any]]) -> GoldenCase:
    named = [f"{index:03}.{name}" for name in _NUMBERS]
    if missing := [name for name in named if name not in arrays]:
        raise BundleError(f"{GOLDEN} lacks {', '.join(missing)}")
    case = GoldenCase(
        *(arrays.pop(name) for name in named),
        *(arrays.pop(f"{index:03}.{name}", None) for name in _DECISIONS),
    )
    _check(index, case)
    return case


def _check(index: int, case: GoldenCase) -> None:
    rows = case.input_ids.shape[:1]
    allowed = {
        "input_ids": ("int64", case.input_ids.shape[:2]),
        "float64": ("float64", (*rows, *case.float64.shape[1:2])),
        "float32": ("float32", case.float64.shape),
        "labels": (None, rows),
        "targets": ("int64", rows),
    }
    for name, (dtype, shape) in allowed.items():
        array = getattr(case, name)
        if array is None:
            continue
        if array.shape != shape or dtype not in (None, array.dtype) or not array.size:
            raise BundleError(
                f"{GOLDEN}: {name} of case {index} is {array.dtype} {list(array.shape)}; "
                f"allowed: {dtype or 'labels'} {list(shape)}, with 1 row or more"
            )
    if case.input_ids.ndim != 2:
        raise BundleError(
            f"{GOLDEN}: input_ids of case {index} is {list(case.input_ids.shape)}; "
            "allowed: 2 dimensions"
        )
    if not (np.isfinite(case.float64).all() and np.isfinite(case.float32).all()):
        raise BundleError(f"{GOLDEN}: logits of case {index} are not finite")


def _some(arrays: dict[str, NDArray[Any]]) -> str:
    return ", ".join(ascii(name[:100]) for name in sorted(arrays)[:5]) or "nothing"
