"""`golden.npz`: inputs and the logits that torch gave for them, replayed without torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.bundle.artifacts import GOLDEN, MIB
from pe_deploy.config import Signature
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
    """One batch and its reference logits, of the shape that the signature states.

    Attributes:
        input_ids: int64 `[batch, sequence]`.
        float64: logits of the model run in float64: as good as exact; 0 where a token task would
            answer padding.
        float32: logits of the model run in float32, as it was trained; likewise.
        labels: what `Decision.recorded` gave for them; None where nothing was recorded, and for
            regression.
        targets: the truth, None where it is not known. Of classes int64 `[batch]`, the index of
            each row's label; of tokens int64 `[batch, sequence]`, the same for each token, and -1
            for padding and whatever else is not to be judged; of multilabel int64
            `[batch, labels]`, 1 where a label is right, else 0; of regression float64, as the
            logits.
    """

    input_ids: NDArray[np.int64]
    float64: NDArray[np.float64]
    float32: NDArray[np.float32]
    labels: NDArray[Any] | None = None
    targets: NDArray[Any] | None = None

    def __repr__(self) -> str:
        rows, length = self.input_ids.shape
        extra = [name for name in _DECISIONS if getattr(self, name) is not None]
        has = f", with {' and '.join(extra)}" if extra else ""
        return (
            f"<GoldenCase {rows} × {length} ids, logits {list(self.float64.shape)}{has}; "
            f"float32 is off by {self.rounding:.1e}>"
        )

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


def golden_from_bytes(data: bytes, signature: Signature) -> tuple[str, list[GoldenCase]]:
    """Read `golden.npz`: the digest of the weights that gave the logits, and the cases.

    Raises:
        BundleError: it is no plain archive, states no digest, has over 1 GiB in it, holds anything
            but arrays of numbers and text, or these are not of a model with this signature.
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
            cases.append(_case(len(cases), arrays, signature))
        if not cases or arrays:
            others = ", ".join(ascii(name[:100]) for name in sorted(arrays)[:5]) or "nothing"
            raise ValueError(
                f"{GOLDEN} holds {len(cases)} cases and {others} beside them; "
                "allowed: 1 case or more, and nothing beside"
            )
    return weights.tobytes().hex(), cases


def _case(index: int, arrays: dict[str, NDArray[Any]], signature: Signature) -> GoldenCase:
    """Take a case out of the arrays."""
    named = [f"{index:03}.{name}" for name in _NUMBERS]
    if missing := [name for name in named if name not in arrays]:
        raise ValueError(f"{GOLDEN} lacks {', '.join(missing)}")
    case = GoldenCase(
        *(arrays.pop(name) for name in named),
        *(arrays.pop(f"{index:03}.{name}", None) for name in _DECISIONS),
    )
    rows, length = case.input_ids.shape if case.input_ids.ndim == 2 else (1, 1)
    logits, answers = signature.output_shape(rows, length), signature.answer_shape(rows, length)
    has_labels = signature.task != "regression"
    allowed = {
        "input_ids": ("int64", (rows, length)),
        "float64": ("float64", logits),
        "float32": ("float32", logits),
        "labels": (None, answers if has_labels else None),
        "targets": ("int64" if has_labels else "float64", answers),
    }
    for name, (dtype, shape) in allowed.items():
        array = getattr(case, name)
        if array is None:
            continue
        if array.shape != shape or dtype not in (None, array.dtype) or not array.size:
            wanted = f"{dtype or 'labels'} {list(shape)}, with 1 row or more" if shape else "none"
            raise ValueError(
                f"{GOLDEN}: {name} of case {index} is {array.dtype} {list(array.shape)}; "
                f"allowed: {wanted}"
            )
    if not (np.isfinite(case.float64).all() and np.isfinite(case.float32).all()):
        raise ValueError(f"{GOLDEN}: logits of case {index} are not finite")
    if case.targets is not None:
        _check_targets(index, case.targets, signature)
    return case


def _check_targets(index: int, targets: NDArray[Any], signature: Signature) -> None:
    if signature.task == "regression":
        allowed, wrong = "finite numbers", ~np.isfinite(targets)
    else:
        lowest = -1 if signature.task == "tokens" else 0
        highest = signature.num_labels - 1 if signature.is_exclusive else 1
        allowed, wrong = f"{lowest} to {highest}", (targets < lowest) | (targets > highest)
    if wrong.any():
        raise ValueError(
            f"{GOLDEN}: targets of case {index} hold {targets[wrong][0]}; allowed: {allowed}"
        )
