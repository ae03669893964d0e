"""`golden.npz`: inputs and the logits that torch gave for them, replayed without torch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.errors import BundleError

_FIELDS = ("input_ids", "float64", "float32")


@dataclass(frozen=True)
class GoldenCase:
    """One batch and its reference logits.

    Attributes:
        input_ids: int64 `[batch, sequence]`.
        float64: logits of the model run in float64: as good as exact.
        float32: logits of the model run in float32, as it was trained.
    """

    input_ids: NDArray[np.int64]
    float64: NDArray[np.float64]
    float32: NDArray[np.float32]


def golden_to_bytes(cases: Sequence[GoldenCase]) -> bytes:
    """The bytes of `golden.npz`; the same cases give the same bytes."""
    arrays = {
        f"{index:03}.{name}": getattr(case, name)
        for index, case in enumerate(cases)
        for name in _FIELDS
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
        count, rest = divmod(len(arrays), len(_FIELDS))
        cases = [
            GoldenCase(*(arrays[f"{index:03}.{name}"] for name in _FIELDS))
            for index in range(count)
        ]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"golden.npz is malformed: {error}") from error
    if not cases or rest:
        raise BundleError(
            f"golden.npz holds {len(arrays)} arrays; allowed: 3 a case, 1 case or more"
        )
    for index, case in enumerate(cases):
        _check(index, case)
    return cases


def _check(index: int, case: GoldenCase) -> None:
    for name, dtype in (("input_ids", "int64"), ("float64", "float64"), ("float32", "float32")):
        array = getattr(case, name)
        if array.dtype != dtype or len(array.shape) == 0 or len(array) != len(case.input_ids):
            raise BundleError(
                f"golden.npz: {name} of case {index} is {array.dtype} {array.shape}; "
                f"allowed: {dtype} with a row for each of {len(case.input_ids)} inputs"
            )
