"""`golden.npz`: inputs and the logits that torch gave for them, replayed without torch."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.errors import BundleError

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


def golden_to_bytes(cases: Sequence[GoldenCase]) -> bytes:
    """The bytes of `golden.npz`; the same cases give the same bytes."""
    arrays = {
        f"{index:03}.{name}": getattr(case, name)
        for index, case in enumerate(cases)
        for name in (*_NUMBERS, *_DECISIONS)
        if getattr(case, name) is not None
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def golden_from_bytes(data: bytes) -> list[GoldenCase]:
    """Read `golden.npz`.

    Raises:
        BundleError: it is no such file, holds Python objects, or its arrays do not fit together.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        count = len({name.split(".")[0] for name in arrays})
        cases = [
            GoldenCase(
                *(arrays.pop(f"{index:03}.{name}") for name in _NUMBERS),
                *(arrays.pop(f"{index:03}.{name}", None) for name in _DECISIONS),
            )
            for index in range(count)
        ]
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise BundleError(f"golden.npz is malformed: {error}") from error
    if not cases or arrays:
        raise BundleError(
            f"golden.npz holds {count} cases and {sorted(arrays)} beside them; "
            "allowed: 1 case or more, and nothing beside"
        )
    for index, case in enumerate(cases):
        _check(index, case)
    return cases


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
                f"golden.npz: {name} of case {index} is {array.dtype} {list(array.shape)}; "
                f"allowed: {dtype or 'labels'} {list(shape)}, with 1 row or more"
            )
    if case.input_ids.ndim != 2:
        raise BundleError(
            f"golden.npz: input_ids of case {index} is {list(case.input_ids.shape)}; "
            "allowed: 2 dimensions"
        )
    if not (np.isfinite(case.float64).all() and np.isfinite(case.float32).all()):
        raise BundleError(f"golden.npz: logits of case {index} are not finite")
