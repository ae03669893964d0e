"""`golden.npz`: inputs and the logits that torch gave for them, replayed without torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.bundle.artifacts import GOLDEN, MIB
from pe_deploy.errors import BundleError, errors_as
from pe_deploy.storage.strict_npz import read_array
from pe_deploy.storage.strict_zip import StrictZip

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEIGHTS = "weights_sha256"
_NUMBERS = ("input_ids", "float64", "float32")
_DECISIONS = ("labels", "targets")


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


def golden_from_bytes(data: bytes) -> tuple[str, list[GoldenCase]]:
    """Read `golden.npz`: the digest of the weights that gave the logits, and the cases.

    Raises:
        BundleError: it is no plain archive, states no digest, has over 1 GiB in it, holds anything
            but arrays of numbers and text, or these do not fit together.
    """
    with errors_as(BundleError):
        archive = StrictZip(data, GOLDEN, 1024 * MIB)
        weights = read_array(archive, f"{_WEIGHTS}.npy")
        if weights.dtype != np.uint8 or weights.shape != (32,):
            raise ValueError(
                f"{GOLDEN}: {_WEIGHTS} is {weights.dtype} {list(weights.shape)}; "
                "allowed: uint8 [32]"
            )
        arrays = {
            member.removesuffix(".npy"): read_array(archive, member)
            for member in archive.members
            if member != f"{_WEIGHTS}.npy"
        }
        cases: list[GoldenCase] = []
        while f"{len(cases):03}.{_NUMBERS[0]}" in arrays:
            cases.append(_case(len(cases), arrays))
        if not cases or arrays:
            others = ", ".join(ascii(name[:100]) for name in sorted(arrays)[:5]) or "nothing"
            raise ValueError(
                f"{GOLDEN} holds {len(cases)} cases and {others} beside them; "
                "allowed: 1 case or more, and nothing beside"
            )
    return weights.tobytes().hex(), cases


def _case(index: int, arrays: dict[str, NDArray[Any]]) -> GoldenCase:
    """Take a case out of the arrays."""
    named = [f"{index:03}.{name}" for name in _NUMBERS]
    if missing := [name for name in named if name not in arrays]:
        raise ValueError(f"{GOLDEN} lacks {', '.join(missing)}")
    case = GoldenCase(
        *(arrays.pop(name) for name in named),
        *(arrays.pop(f"{index:03}.{name}", None) for name in _DECISIONS),
    )
    rows, *length = case.input_ids.shape
    allowed = {
        "input_ids": ("int64", (rows, *(length[:1] or [1]))),
        "float64": ("float64", (rows, *case.float64.shape[1:2])),
        "float32": ("float32", case.float64.shape),
        "labels": (None, (rows,)),
        "targets": ("int64", (rows,)),
    }
    for name, (dtype, shape) in allowed.items():
        array = getattr(case, name)
        if array is None:
            continue
        if array.shape != shape or dtype not in (None, array.dtype) or not array.size:
            raise ValueError(
                f"{GOLDEN}: {name} of case {index} is {array.dtype} {list(array.shape)}; "
                f"allowed: {dtype or 'labels'} {list(shape)}, with 1 row or more"
            )
    if not (np.isfinite(case.float64).all() and np.isfinite(case.float32).all()):
        raise ValueError(f"{GOLDEN}: logits of case {index} are not finite")
    return case
