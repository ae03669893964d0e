"""How many threads torch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with this many threads inside the block; put the old number back.

    One thread is right for small steps: a second brings a tenth at best, and where the other
    cores are busy torch's threads wait for each other, for up to fifty times as long (measured).
    It also gives the same bits whatever the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
