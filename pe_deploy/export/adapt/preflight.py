"""What a module must not do, tried before any capture: each breach has a line and a way out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_deploy.config import Decision, Signature, takes_threshold
from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.adapter import IdsToLogits
from pe_deploy.export.adapt.blame import blamed
from pe_deploy.export.adapt.narrow import narrowed
from pe_deploy.parity import random_ids
from pe_deploy.parity.cases import every_id

_NEAR = 1e-3
"""Of the largest logit: float32 may differ by a thousandth of it between two batches at most."""

_NEAR_PROBABILITY = 1e-5

_LENGTHS = 24
_ROWS = 5


def check(adapted: IdsToLogits) -> None:
    """Try a module as callers will use it.

    Raises:
        ExportError: it fails on an input that its signature allows, answers a thing twice in two
            ways, lets a row hang on its neighbours, or an answer on how much padding there is.
    """
    signature = adapted.signature
    lengths = list(_lengths(signature))
    if found := narrowed(lambda: _run(adapted, torch.from_numpy(some_ids(signature)))):
        raise ExportError(
            f"forward itself computes in {found}; leave out .half(), .bfloat16() and autocast: a "
            "bundle's answers are those of float32"
        )
    closely = {*lengths[:2], lengths[len(lengths) // 2], lengths[-1]}
    for length in lengths:
        ids = _ids(signature, _ROWS, length)
        answers = _run(adapted, ids)
        if length in closely:
            _check_repeats(adapted, ids, answers)
            _check_alike(adapted, ids, answers)
    for batch in every_id(signature):
        _check_halves(adapted, torch.from_numpy(batch))


def some_ids(signature: Signature) -> NDArray[np.int64]:
    """A few rows that the signature allows."""
    length = min(max(signature.min_length, 8), signature.max_length)
    return random_ids(signature, 64, length, np.random.default_rng(0))


def check_undone(logits: IdsToLogits, probabilities: IdsToLogits, ids: Tensor) -> None:
    """Check that the decision makes of the logits what the module gives itself.

    Raises:
        ExportError: it does not.
    """
    signature, ending = logits.signature, logits.ending
    decision = Decision((), 0.5 if takes_threshold(signature) else None, signature.task)
    found = decision.probabilities(_run(logits, ids).numpy())
    own = _run(probabilities, ids).double().numpy()
    if ending is not None and ending.name == "log_softmax":
        own = np.exp(own)
    if signature.num_classes == 1 and signature.is_exclusive:
        found = found[..., 1]
    apart = float(np.abs(found - own).max())
    if not apart <= _NEAR_PROBABILITY:
        raise ExportError(
            f"what is left without the {ending.name if ending else 'end'} is no logits: its "
            f"probabilities differ by {apart:.2g} from the module's own; return the logits"
        )


def _check_repeats(adapted: IdsToLogits, ids: Tensor, answers: Tensor) -> None:
    again = _run(adapted, ids)
    if not _near(again, answers):
        raise ExportError(
            f"two calls with the same ids differ by {_apart(again, answers):.2g}: something in the "
            "module is random, or kept from call to call; leave dropout to nn.Dropout (or pass "
            "training=self.training), and begin each call from a new state"
        )


def _check_halves(adapted: IdsToLogits, ids: Tensor) -> None:
    """Whatever ids there are: the rows of a batch give what each half of it gives alone."""
    whole = _run(adapted, ids)
    finite = torch.isfinite(whole).reshape(len(whole), -1).all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ExportError(
            f"the module gives NaN or infinity on {ids[row].tolist()[:8]}; allowed: finite logits"
        )
    halves = [half for half in ids.chunk(2) if len(half)]
    apart = torch.cat([_run(adapted, half) for half in halves])
    if not _near(apart, whole):
        row = int((apart - whole).abs().reshape(len(whole), -1).amax(1).argmax())
        raise ExportError(
            f"a row's answer depends on its neighbours: with other rows beside it, "
            f"{ids[row].tolist()[:8]} differs by {_apart(apart, whole):.2g}; let no `if` ask for "
            "all rows"
        )


def _check_alike(adapted: IdsToLogits, ids: Tensor, answers: Tensor) -> None:
    """Each row alone, without its padding, gives what it gives in the batch."""
    signature = adapted.signature
    for row, answer in zip(ids, answers, strict=True):
        tokens = len(row)
        if signature.pad_id is not None:
            tokens = int((row != signature.pad_id).sum())
        whole = _run(adapted, row[None])[0]
        expected = answer
        if signature.task == "tokens":
            whole, expected = whole[:tokens], answer[:tokens]
        if not _near(whole, expected):
            raise ExportError(
                f"a row's answer depends on its neighbours: alone it differs by "
                f"{_apart(whole, expected):.2g} from itself in a batch of {len(ids)}; normalise "
                "and pool over the sequence, not over the batch, and let no `if` ask for all rows"
            )
        if tokens == len(row):
            continue
        alone = _run(adapted, row[None, :tokens])[0]
        if not _near(alone, expected):
            raise ExportError(
                f"padding changes the answer: {tokens} ids with {len(row) - tokens} of pad_id "
                f"{signature.pad_id} behind them differ by {_apart(alone, expected):.2g} from the "
                "ids alone; mask what is padding (pack_padded_sequence, src_key_padding_mask, a "
                "masked mean: padding_idx alone does not), or state no pad id"
            )


def _run(adapted: IdsToLogits, ids: Tensor) -> Tensor:
    with torch.no_grad():
        try:
            logits: Tensor = adapted(ids.clone())  # people write into their input
        except Exception as error:
            raise ExportError(
                f"the module fails on batch {ids.shape[0]} × length {ids.shape[1]}: {blamed(error)}"
            ) from error
    shape = adapted.signature.output_shape(*ids.shape)
    if tuple(logits.shape) != shape:
        raise ExportError(
            f"the module gives {list(logits.shape)} for batch {ids.shape[0]} × length "
            f"{ids.shape[1]}; elsewhere it gave what makes that {list(shape)}"
        )
    return logits


def _ids(signature: Signature, batch: int, length: int) -> Tensor:
    rng = np.random.default_rng(length)
    return torch.from_numpy(random_ids(signature, batch, length, rng))


def _lengths(signature: Signature) -> Iterator[int]:
    shortest, longest = signature.min_length, signature.max_length
    count = min(longest - shortest + 1, _LENGTHS)
    yield from (int(n) for n in np.linspace(shortest, longest, count).round())


def _near(one: Tensor, other: Tensor) -> bool:
    return _apart(one, other) <= _NEAR * max(1.0, float(other.abs().max()))


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
