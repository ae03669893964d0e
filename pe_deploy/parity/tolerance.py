"""How far a logit may be from exact: a multiple of how far torch itself is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pe_deploy.errors import InvalidInputError
from pe_deploy.runtime.floors import MULTIPLE, NEAR_ZERO


@dataclass(frozen=True)
class Tolerance:
    """What a difference between a logit and its reference may be.

    By default `multiple × floor + near_zero`: the floor is the largest error that float32 torch
    makes itself against float64 torch on rows of about that length (see `Floors`), so that a deep
    or a long model gets the room that its own rounding takes, and no other. `near_zero` keeps the
    gate open where that error happens to be nil. With `atol` or `rtol` it is
    `atol + rtol × |reference|` instead.

    Raises:
        InvalidInputError: a value is negative or not finite.

    >>> Tolerance(multiple=4, near_zero=0).allowed(floor=0.25, magnitude=8)
    1.0
    >>> Tolerance(atol=0.5, rtol=0.25).allowed(floor=0.25, magnitude=8)
    2.5
    """

    multiple: float = MULTIPLE
    near_zero: float = NEAR_ZERO
    atol: float | None = None
    rtol: float | None = None

    def __post_init__(self) -> None:
        for name in ("multiple", "near_zero", "atol", "rtol"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidInputError(f"{name} is {value}; allowed: 0 or more, and finite")

    @property
    def is_stated(self) -> bool:
        """Whether the user stated it, instead of leaving it to the floor."""
        return self.atol is not None or self.rtol is not None

    def allowed(self, floor: float, magnitude: float) -> float:
        """The largest difference that passes, where the reference is `magnitude` in size."""
        if self.is_stated:
            return (self.atol or 0.0) + (self.rtol or 0.0) * magnitude
        return self.from_floor(floor)

    def from_floor(self, floor: float) -> float:
        """The largest difference that rounding explains, whatever the user stated."""
        return self.multiple * floor + self.near_zero

    def __str__(self) -> str:
        if self.is_stated:
            return f"{self.atol or 0:g} + {self.rtol or 0:g} × |logit|"
        return f"{self.multiple:g} × floor + {self.near_zero:g}"
