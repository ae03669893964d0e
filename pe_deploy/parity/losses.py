"""What rounding its weights costs a model: how far logits move, and which labels flip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Decision, Signature
from pe_deploy.parity.cases import random_ids
from pe_deploy.parity.decisions import UNITS, each_decision, unit_of
from pe_deploy.runtime.engines import Predictor

RANDOM_ROWS = 20_000

_MOST_LENGTHS = 64
_ROWS_AT_ONCE = 512
_MOST_IDS = 2**21
"""Of all random rows together: of very long ones there are fewer."""

_MOST_MARGINS = 100
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Loss:
    """A model with rounded weights beside the one that was trained, on the same rows.

    Both are run by torch in float32, whose own rounding is a thousand times less than that of
    float16 weights.

    Attributes:
        rows: how many rows.
        held_out: whether they are rows of the data; else random ones, of all lengths.
        difference: the largest difference of a logit.
        spread: from the least logit of the trained model to its largest.
        decisions: how many labels are answered, as in `Decisions.rows`.
        unit: what has a label, of `UNITS`.
        flips: how many of them differ; None for a regression, which has none.
        allowed: how many may.
        margins: how far each label that flips was from another in the trained model: between its
            two largest logits, or from the threshold; the largest first, up to 100 of them.
        median_margin: of all of these; None where none flips.
    """

    rows: int
    held_out: bool
    difference: float
    spread: float
    decisions: int
    unit: str = "rows"
    flips: int | None = None
    allowed: int | None = None
    margins: tuple[float, ...] = ()
    median_margin: float | None = None

    @property
    def failed(self) -> bool:
        """Whether more labels flip than may."""
        return self.flips is not None and self.flips > (self.allowed or 0)

    @property
    def kind(self) -> str:
        """Which rows they are, in a word."""
        return "held-out" if self.held_out else "random"

    @property
    def share(self) -> float:
        """Of the labels, those that flip."""
        return (self.flips or 0) / self.decisions

    @property
    def outcome(self) -> str:
        """What changed, in a line."""
        moved = f"logits move by {self.difference:.2g} at most, of a spread of {self.spread:.2g}"
        if self.flips is None:
            return moved
        margins = f", by margins up to {self.margins[0]:.2g}" if self.margins else ""
        return f"{moved}; {self.flips:,} of {self.decisions:,} {self.what} flip{margins}"

    @property
    def what(self) -> str:
        """What flips, in words."""
        return {"rows": "labels", "tokens": "labels of tokens", "labels": "answers"}[self.unit]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Loss:
        """What `to_dict` gave.

        Raises:
            TypeError: a field is of another type.
        """
        made = cls(**{**values, "margins": tuple(values["margins"])})
        counts = [made.rows, made.decisions, *({made.flips, made.allowed} - {None})]
        numbers = [made.difference, made.spread, *made.margins, made.median_margin or 0.0]
        if {type(count) for count in counts} != {int} or made.unit not in UNITS:
            raise TypeError(f"a loss is {values}")
        if not all(type(number) in (int, float) and 0 <= number < math.inf for number in numbers):
            raise TypeError(f"a loss is {values}")
        return made

    def __str__(self) -> str:
        return (
            f"rounding the weights flips {self.flips:,} of {self.decisions:,} {self.what} of "
            f"{self.kind} rows, {self.share:.3%}; allowed: {self.allowed:,} (--allow-flips)"
        )


def losses(
    rounded: Predictor,
    trained: Predictor,
    signature: Signature,
    decision: Decision,
    held_out: NDArray[np.int64] | None = None,
    allow_flips: float | None = None,
) -> tuple[Loss, ...]:
    """What rounding cost on held-out rows, where there are some, and on 20,000 random ones.

    The random rows are of all lengths that the signature allows, or of 64 spread evenly over them,
    and padded where it pads. Where they are over a hundred ids long on average, there are fewer.

    Args:
        rounded: the model of the rounded weights.
        trained: the model of the trained ones.
        signature: what both take and give.
        decision: how labels are taken from logits.
        held_out: rows of the data, int64 `[rows, sequence]`.
        allow_flips: the share of labels that may flip; of few labels, one may, unless it is 0.
    """
    found = []
    if held_out is not None and len(held_out):
        found.append((_parts(held_out), True))
    found.append((_random_rows(signature), False))
    return tuple(
        _loss(rounded, trained, signature, decision, parts, is_held_out, allow_flips)
        for parts, is_held_out in found
    )


def _loss(
    rounded: Predictor,
    trained: Predictor,
    signature: Signature,
    decision: Decision,
    parts: Iterator[NDArray[np.int64]],
    held_out: bool,
    allow_flips: float | None,
) -> Loss:
    rows = decisions = flips = 0
    difference, lowest, highest = 0.0, math.inf, -math.inf
    margins: list[float] = []
    for ids in parts:
        before, after = (
            signature.zero_padding(np.asarray(model(ids), np.float64), ids)
            for model in (trained, rounded)
        )
        rows += len(ids)
        difference = max(difference, _finite(np.abs(after - before).max()))
        lowest, highest = min(lowest, before.min()), max(highest, before.max())
        before, after = (each_decision(signature, ids, logits) for logits in (before, after))
        decisions += len(before)
        if signature.task == "regression":
            continue
        flipped = decision.classes(before) != decision.classes(after)
        flips += int(flipped.sum())
        margins += map(_finite, _between(decision, before[flipped]))
    margins.sort(reverse=True)
    has_labels = signature.task != "regression"
    return Loss(
        rows,
        held_out,
        difference,
        _finite(highest - lowest),
        decisions,
        unit_of(signature),
        flips if has_labels else None,
        math.ceil(round((allow_flips or 0.0) * decisions, 6)) if has_labels else None,
        tuple(margins[:_MOST_MARGINS]),
        median(margins) if margins else None,
    )


def _between(decision: Decision, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each answer is from another: from the threshold, or between the two largest."""
    margins = decision.margins(logits)
    return margins if decision.threshold is not None else 2 * margins


def _parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _random_rows(signature: Signature, seed: int = 7) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    shortest, longest = signature.min_length, signature.max_length
    count = min(longest - shortest + 1, _MOST_LENGTHS)
    lengths = np.linspace(shortest, longest, count).round().astype(int)
    most = max(1, int(_MOST_IDS // lengths.mean()))
    rows = min(RANDOM_ROWS, most)
    for number, length in enumerate(lengths.tolist()):
        ours = rows // count + (number < rows % count)
        if ours:
            yield from _parts(random_ids(signature, ours, length, rng))


def _finite(number: float) -> float:
    """A number that JSON has: of what is not finite, the largest."""
    return float(np.nan_to_num(number, nan=_LARGEST, posinf=_LARGEST))
