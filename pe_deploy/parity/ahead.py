"""Answers of the reference, worked out beside what is held against them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_AHEAD = 3
"""Cases; enough to even out those on which the reference is slower than all others together."""


def made_ahead(
    make: Callable[[Given], Made], given: Iterable[Given], beside: bool
) -> Iterator[tuple[Given, Made]]:
    """Each thing that is given, in order, with what is made of it.

    Args:
        make: called with one thing at a time.
        given: the things.
        beside: whether `make` runs in a thread of its own, a few things ahead of whoever asks.
    """
    if not beside:
        yield from ((each, make(each)) for each in given)
        return
    waiting: deque[tuple[Given, Future[Made]]] = deque()
    with ThreadPoolExecutor(1, "reference") as pool:
        try:
            for each in given:
                waiting.append((each, pool.submit(make, each)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:  # whoever asks may have stopped
            for _, future in waiting:
                future.cancel()
