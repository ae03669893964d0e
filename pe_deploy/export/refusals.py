"""Bad inputs tried on a finished artifact, by an engine that nothing stands before.

What must not happen is an answer. What should happen is the error of the guard that is meant for
this input; another one shows that the guard was passed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import C_SOURCE, ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import INPUT_IDS, LOGITS, Signature
from pe_deploy.errors import ExportError, InvalidInputError, line_of
from pe_deploy.export.guards import guard_names
from pe_deploy.runtime import to_input_ids
from pe_deploy.runtime.native import candidate
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort
from pe_deploy.runtime.torchscript import jit_deprecation_ignored

_ALSO: Mapping[str, Sequence[str]] = {"no ids": ("too short",)}
"""The guards that may say what is wrong in place of the one that is meant for it."""

Ids = NDArray[np.int64]


def bad_inputs(signature: Signature) -> dict[str, tuple[str, Ids]]:
    """By description: the kind, as in `guard_names`, and ids that the signature does not allow."""
    longest, vocab_size, pad_id = signature.max_length, signature.vocab_size, signature.pad_id
    token = 1 if pad_id == 0 else 0
    shortest = signature.min_length
    length = max(shortest, min(3, longest))

    def with_last(value: int) -> Ids:
        ids = np.full((2, length), token, np.int64)
        ids[-1, -1] = value
        return ids

    found = {
        "a batch of 0 rows": ("no rows", np.empty((0, length), np.int64)),
        "rows of 0 ids": ("no ids", np.empty((2, 0), np.int64)),
        f"rows of {longest + 1} ids": ("too long", np.full((2, longest + 1), token, np.int64)),
        "id -1": ("id", with_last(-1)),
        f"id {-vocab_size}": ("id", with_last(-vocab_size)),
        f"id {-(2**63)}": ("id", with_last(-(2**63))),
        f"id {vocab_size}": ("id", with_last(vocab_size)),
        f"id {2**63 - 1}": ("id", with_last(2**63 - 1)),
    }
    if shortest > 1:
        short = np.full((2, shortest - 1), token, np.int64)
        if pad_id is not None:  # the batch is long enough, and a row of it is not
            short = np.pad(short, ((0, 0), (0, 1)), constant_values=pad_id)
        found[f"rows of {shortest - 1} ids"] = ("too short", short)
    if pad_id is not None:
        found["a row of padding"] = ("padding", np.full((2, length), pad_id, np.int64))
        if length > 1:
            left = with_last(token)
            left[-1, 0] = pad_id
            found["padding on the left"] = ("padding", left)
    return found


def check_onnx_refuses(model: bytes, signature: Signature, name: str = ONNX) -> None:
    """Try every bad input on a graph that has passed the lint, without which this may abort.

    Raises:
        ExportError: it answers one of them, or fails in another node than the guard.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = guard_names(signature)
    _check(
        name,
        signature,
        lambda ids: session.run([LOGITS], {INPUT_IDS: ids}),
        lambda kind, ids: [f"'{names[of]}" for of in (kind, *_ALSO.get(kind, ())) if of in names],
    )


def check_torchscript_refuses(data: bytes, signature: Signature) -> None:
    """Try every bad input on a TorchScript archive.

    Raises:
        ExportError: it answers one of them, or with another error than `to_input_ids`.
    """
    with jit_deprecation_ignored():
        module = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]

    def words(kind: str, ids: Ids) -> Sequence[str]:
        try:
            to_input_ids(ids, signature)
        except InvalidInputError as error:
            return [str(error)]
        return ["at least 1 row"]  # to which our classes answer with no rows

    with torch.inference_mode():
        _check(TORCHSCRIPT, signature, lambda ids: module(torch.from_numpy(ids)), words)


def check_c_refuses(bundle: Bundle) -> None:
    """Try every bad input on a bundle's C, which is compiled for it.

    No rows are no error there: nothing is written for them.

    Raises:
        ExportError: it answers one of them, or the compiler refuses it.
        MissingDependencyError: there is no compiler.
    """
    signature = bundle.manifest.signature
    with candidate(bundle, num_threads=1) as classifier:
        for description, (kind, ids) in bad_inputs(signature).items():
            if kind == "no rows":
                continue
            try:
                classifier.predict_logits(ids)  # which finds the words once the C has refused it
            except InvalidInputError:
                continue
            raise ExportError(
                f"{C_SOURCE} answers {description}, which its signature does not allow"
            )


def _check(
    name: str,
    signature: Signature,
    run: Callable[[Ids], Any],
    expected: Callable[[str, Ids], Sequence[str]],
) -> None:
    for description, (kind, ids) in bad_inputs(signature).items():
        try:
            run(ids)
        except Exception as error:
            if not any(words in str(error) for words in expected(kind, ids)):
                raise ExportError(
                    f"{name} does not say what is wrong with {description}, but: {line_of(error)}"
                ) from error
        else:
            raise ExportError(f"{name} answers {description}, which its signature does not allow")
