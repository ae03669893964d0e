"""Replay a bundle's golden vectors: does this machine compute the model that was published?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.errors import ParityError, PeDeployError
from pe_deploy.runtime.floors import MULTIPLE, NEAR_ZERO, Floors

Decide = Callable[[NDArray[np.floating[Any]]], "NDArray[Any] | None"]
"""From logits to their answers, as `Decision.recorded` gives them."""


def floors_with(golden: Sequence[GoldenCase], known: Floors) -> Floors:
    """What is known of torch's own error, and what it shows in golden vectors.

    These are too few to show it at each of their lengths: alone, they have one floor together.
    """
    own = Floors.of((case.input_ids.shape[1], case.rounding) for case in golden)
    return known.joined(own if known.by_length else Floors(least=own.highest))


def replay(
    predict: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    golden: Sequence[GoldenCase],
    name: str,
    decide: Decide | None = None,
    floors: Floors | None = None,
) -> float:
    """Hold a model against its golden vectors, by the rule of `pe_deploy.parity.verify`.

    Args:
        predict: from int64 `[batch, sequence]` to logits of the task's shape.
        golden: the inputs, and what torch gave for them.
        name: what to call the model in an error.
        decide: to hold its labels against those that were recorded.
        floors: those that the bundle was published with.

    Returns:
        The worst difference of a logit from float64 torch.

    Raises:
        ParityError: the model fails on a golden input, or its logits are further off than allowed,
            or neither they nor the exact ones give the label that was recorded.
    """
    if floors is None or not floors.by_length:
        floors = Floors()  # golden vectors show a nearer one than a single one of all lengths
    floors = floors_with(golden, floors)
    worst = 0.0
    for case in golden:
        batch, length = case.input_ids.shape
        shape = f"batch {batch} × length {length}"
        try:
            logits = predict(case.input_ids)
        except PeDeployError as error:
            raise ParityError(f"{name} fails on the golden vector of {shape}: {error}") from error
        if logits.shape != case.float64.shape:
            raise ParityError(
                f"{name} answers the golden vector of {shape} with logits {list(logits.shape)} "
                f"instead of {list(case.float64.shape)}"
            )
        difference = float(np.abs(logits - case.float64).max())
        floor = floors.at(length)
        allowed = MULTIPLE * floor + NEAR_ZERO
        if not difference <= allowed:
            raise ParityError(
                f"{name} computes something else than was published: worst difference "
                f"{difference:.2g} on the golden vector of {shape}, floor {floor:.2g}, "
                f"allowed {allowed:.2g}"
            )
        if decide is not None and case.labels is not None:
            _check_labels(decide, logits, case, name)
        worst = max(worst, difference)
    return worst


def replay_texts(bundle: Bundle) -> None:
    """Hold a bundle's tokenizer against its golden texts.

    Raises:
        ParityError: a text gives other ids than were recorded, or is refused, or was.
        BundleError: the bundle holds no golden texts, or no tokenizer that opens.
        MissingDependencyError: the tokenizer needs `tokenizers`, which is not installed.
    """
    from pe_deploy.text.golden import first_difference

    found = first_difference(bundle.encoder(), bundle.golden_texts(), bundle.manifest.signature)
    if found is not None:
        raise ParityError(
            f"the tokenizer of {bundle.folder} is another than was published: {found}"
        )


def _check_labels(decide: Decide, logits: NDArray[np.float32], case: GoldenCase, name: str) -> None:
    """Where the logits are within rounding of exact, a label may differ from that of exact ones."""
    recorded = np.asarray(case.labels, object)  # compared as Python does, an int and a str too
    given, by_exact = (np.asarray(decide(values), object) for values in (logits, case.float64))
    wrong = (recorded != given) & (recorded != by_exact)
    if not wrong.any():
        return
    row, *column = at = tuple(map(int, np.argwhere(wrong)[0]))
    where = f"row {row}, column {column[0]}" if column else f"row {row}"
    raise ParityError(
        f"{name} gives {where} of the golden vectors the label {given[at]!r}; "
        f"published was {recorded[at]!r}"
    )
