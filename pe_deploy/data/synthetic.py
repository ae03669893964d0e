"""The notebook's random training set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data.dataset import Dataset

Draw = Callable[[int, tuple[int, ...]], NDArray[np.int64]]
"""`draw(high, shape)`: uniform int64 in `[0, high)`."""

NOTEBOOK_ROWS = 40
NOTEBOOK_LENGTH = 10
NOTEBOOK_VOCAB_SIZE = 12


def synthetic(
    draw: Draw,
    *,
    rows: int = NOTEBOOK_ROWS,
    length: int = NOTEBOOK_LENGTH,
    vocab_size: int = NOTEBOOK_VOCAB_SIZE,
) -> Dataset:
    """Random ids `[rows, length]` and random labels 0 and 1, drawn in the notebook's order.

    With a `draw` on torch's generator a seed gives the notebook's very rows, and nothing here
    needs torch.
    """
    input_ids = draw(vocab_size, (rows, length))
    targets = draw(2, (rows,))
    return Dataset(input_ids, targets, labels=(0, 1))
