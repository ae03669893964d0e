"""How far float32 torch itself is from exact: what every difference of a logit is judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MULTIPLE = 4.0
"""How many times as far off as float32 torch itself a logit may be."""

NEAR_ZERO = 1e-6
"""What is allowed beside it, where torch's own error happens to be nil."""


@dataclass(frozen=True)
class Floors:
    """The largest error of float32 torch against float64, by the length of the rows.

    The error grows with the steps, so a fault in short rows must not hide in the rounding of long
    ones. But it also varies by chance with the rows, and the 13 that parity tries at most lengths
    show too little of it. So a length has the largest error of the lengths near it, up to 4 ids or
    a sixteenth of the longest away: among those is one that large batches are tried at.

    Attributes:
        by_length: the largest error that was measured on rows of each length.
        least: a floor for every length, where no more than that is known.
    """

    by_length: Mapping[int, float] = field(default_factory=dict)
    least: float = 0.0

    def __repr__(self) -> str:
        return f"<Floors: up to {self.highest:.2g}, measured at {len(self.by_length)} lengths>"

    @classmethod
    def of(cls, errors: Iterable[tuple[int, float]]) -> Floors:
        """Of pairs of a length and an error that was measured there."""
        largest: dict[int, float] = {}
        for length, error in errors:
            largest[length] = max(error, largest.get(length, 0.0))
        return cls(dict(sorted(largest.items())))

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Floors:
        """Of a report's summary, as a manifest holds it too; none where it states none.

        Older ones state a single `floor` for all lengths.

        Raises:
            ValueError: an error is negative or not finite.
        """
        values = summary.get("floors", {"by_length": {}, "least": summary.get("floor", 0.0)})
        by_length = {int(length): float(error) for length, error in values["by_length"].items()}
        floors = cls(by_length, float(values["least"]))
        if not all(0 <= error < math.inf for error in (floors.least, *by_length.values())):
            raise ValueError(f"floors are {values}; allowed: finite numbers of 0 or more")
        return floors

    @property
    def highest(self) -> float:
        """The floor over all lengths."""
        return max([self.least, *self.by_length.values()])

    def at(self, length: int) -> float:
        """The floor of rows of this length; the highest where none was measured near it."""
        reach = max(4, max(self.by_length, default=0) / 16)
        near = [error for other, error in self.by_length.items() if abs(other - length) <= reach]
        return max([self.least, *near]) if near else self.highest

    def joined(self, other: Floors) -> Floors:
        """What both have seen."""
        both = Floors.of([*self.by_length.items(), *other.by_length.items()])
        return Floors(both.by_length, max(self.least, other.least))
