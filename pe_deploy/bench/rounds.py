"""Tasks that take turns, round after round, so that what else the machine does meets them all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pe_deploy.errors import InvalidInputError

FEWEST_ROUNDS = 3

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""

T = TypeVar("T")


def in_turns(
    tasks: Mapping[str, Callable[[], T]], seconds: float, progress: Progress | None = None
) -> dict[str, list[T]]:
    """What each task gives, round by round, for about so long and in three rounds or more.

    Every round has an order of its own.
    """
    given: dict[str, list[T]] = {name: [] for name in tasks}
    order = list(tasks)
    shuffled = random.Random(0)
    started = time.perf_counter()
    rounds, spent = 0, 0.0
    while rounds < FEWEST_ROUNDS or spent < seconds:
        shuffled.shuffle(order)
        for name in order:
            given[name].append(tasks[name]())
        rounds, spent = rounds + 1, time.perf_counter() - started
        if progress is not None:
            progress(min(1.0, spent / seconds))
    return given


def check_seconds(seconds: float) -> None:
    """See that a measurement ends.

    Raises:
        InvalidInputError: `seconds` is not above 0, or has no end.
    """
    if not 0 < seconds < float("inf"):
        raise InvalidInputError(f"seconds is {seconds}; allowed: above 0")
