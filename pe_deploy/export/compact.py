"""Compact files: a model whose weights were rounded, and its graphs with them stored as they are.

The rounded weights are a model of their own. Its module goes the way of every other, through all
passes and the gate; what rounding cost is measured beside, against the weights that were trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from pe_deploy.bundle.manifest import Compact
from pe_deploy.config import CompactDtype, Signature
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.adapt.copying import frozen_copy
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.onnx import expectation_of
from pe_deploy.export.passes.compact import compacted
from pe_deploy.export.passes.recurrent_to_scan import FLOAT_BYTES
from pe_deploy.export.source import Source
from pe_deploy.training.state_dict import weights_sha256

WEIGHT_BYTES: Mapping[str, int] = {"float16": 2, "int8": 1}

FLOAT16_FLIPS = 0.001
"""The share of labels that float16 may change: those are near-ties, some three times as few."""

_LEVELS = 127
_SCALE_BITS = 16
"""Of a scale's mantissa: a level has 7, so that level times scale is exact in float32's 24."""

_LEAST_SCALE = 2.0**-100
"""Far above where float32 loses bits; weights so small are zeros beside any others."""


def check_compact(dtype: str | None, allow_flips: float | None) -> None:
    """Check what is asked for.

    Raises:
        InvalidInputError: the type is none of these; or the share is none, or missing, or of
            nothing.
    """
    if dtype is not None and dtype not in WEIGHT_BYTES:
        raise InvalidInputError(f"compact is {dtype!r}; allowed: {', '.join(WEIGHT_BYTES)}")
    if allow_flips is None:
        if dtype == "int8":
            raise InvalidInputError(
                "compact is int8 and allow_flips is not stated; allowed: the share of labels that "
                "may change, 0 to 1"
            )
        return
    if dtype is None:
        raise InvalidInputError(f"allow_flips is {allow_flips!r}; allowed only with compact")
    is_number = isinstance(allow_flips, int | float) and not isinstance(allow_flips, bool)
    if not (is_number and 0 <= allow_flips <= 1):
        raise InvalidInputError(f"allow_flips is {allow_flips!r}; allowed: a share, 0 to 1")


def compact_of(source: Source, dtype: CompactDtype, allow_flips: float | None) -> Source:
    """The same with a rounded module, which says what it was rounded from.

    Raises:
        InvalidInputError: it is a regression, and is to be judged by labels, of which it has none.
        ExportError: as `rounded`.
    """
    if source.signature.task != "regression":
        share: float | None = FLOAT16_FLIPS if allow_flips is None else float(allow_flips)
    elif allow_flips is not None:
        raise InvalidInputError(
            f"allow_flips is {allow_flips}, and task regression has no labels to flip; allowed: "
            "compact float16, without it"
        )
    else:
        share = None
    trained = source.weights_sha256 or weights_sha256(source.module)
    return dataclasses.replace(
        source,
        module=rounded(source.module, dtype),
        weights_sha256=None,
        compact=Compact(dtype, trained, share),
    )


def rounded(module: nn.Module, dtype: str) -> nn.Module:
    """A frozen copy whose weights, float32 as before, are numbers that the narrow type holds.

    In float16 each is the nearest. In int8 each row of a matrix or a table has a scale, and is the
    scale times -127 to 127; vectors are rounded to float16. (Of more axes, the first that is longer
    than 1 counts the rows.) Buffers, which were not trained, are rounded to float16 where they are
    matrices or tables, and fit.

    Raises:
        ExportError: a weight is beyond what the type holds.
    """
    copied = frozen_copy(module)
    with torch.no_grad():
        for name, tensor in copied.named_parameters():
            if not (tensor.numel() and tensor.is_floating_point() and tensor.isfinite().all()):
                continue  # what is not finite is refused by those who look for it
            by_rows = dtype == "int8" and tensor.dim() > 1
            narrow = _by_rows(tensor) if by_rows else _in_float16(tensor)
            if not narrow.isfinite().all():
                worst = tensor.flatten()[tensor.abs().argmax()]
                most = torch.finfo(torch.float16 if not by_rows else torch.float32).max
                raise ExportError(
                    f"{name} holds {worst:g}, which {dtype} weights cannot; allowed: {-most:g} to "
                    f"{most:g}, or no compact"
                )
            tensor.copy_(narrow)
        for _, buffer in copied.named_buffers():
            if buffer.is_floating_point() and buffer.dim() > 1:
                narrow = _in_float16(buffer)
                if torch.equal(narrow.isfinite(), buffer.isfinite()):
                    buffer.data = narrow  # not in place: it may share its memory
    return copied


def _in_float16(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16).to(tensor.dtype)


def _by_rows(tensor: Tensor) -> Tensor:
    """Each row as whole multiples of a scale, up to 127 of them.

    The scale is the least of 16 bits that reaches the row's largest number, so that it can be had
    back from the products: it is the largest of them, divided by 127.
    """
    count = next((size for size in tensor.shape if size > 1), 1)
    exact = tensor.double().reshape(count, -1)
    largest = exact.abs().amax(1, keepdim=True)
    mantissa, exponent = torch.frexp((largest / _LEVELS).clamp(min=_LEAST_SCALE))
    scale = torch.ldexp((mantissa * 2**_SCALE_BITS).ceil(), exponent - _SCALE_BITS)
    levels = (exact / scale).round() + 0.0  # an integer has no -0
    return (levels * scale).reshape(tensor.shape).to(tensor.dtype)


def weight_bytes(compact: Compact | None) -> int:
    """How many bytes a weight takes in an ONNX file."""
    return FLOAT_BYTES if compact is None else WEIGHT_BYTES[compact.dtype]


def to_compact(
    latency: onnx.ModelProto,
    throughput: onnx.ModelProto | None,
    signature: Signature,
    compact: Compact | None,
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """The finished graphs of a `rounded` module with its weights stored as the narrow type.

    Args:
        latency: from `to_onnx`.
        throughput: from `to_throughput` of it, if there is one.
        signature: what the model takes and gives.
        compact: how its weights were rounded; with None the graphs stay as they are.

    Raises:
        ExportError: a new graph breaks a lint rule.
    """
    if compact is None:
        return latency, throughput
    expected = expectation_of(latency, signature)
    first = _linted(compacted(latency, compact.dtype), expected)
    if throughput is None:
        return first, None
    expected = expectation_of(latency, signature, throughput=True)
    return first, _linted(compacted(throughput, compact.dtype), expected)


def _linted(model: onnx.ModelProto, expected: Expectation) -> onnx.ModelProto:
    if findings := lint(model, expected):
        raise ExportError("the compact graph breaks the lint: " + " | ".join(findings))
    return model
