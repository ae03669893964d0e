"""Labelled sets that need no download: the notebook's random one, and handwritten digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data.dataset import Dataset
from pe_deploy.errors import requires_extra

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
    return Dataset(input_ids, draw(2, (rows,)), labels=(0, 1))


def digits() -> Dataset:
    """The 1797 images of scikit-learn's digits, each one row of 64 ids, with labels 0 to 9.

    An id is a pixel's brightness, 0 to 16; the 8x8 pixels follow in reading order.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    with requires_extra("train"):
        from sklearn.datasets import load_digits
    images = load_digits()
    labels = tuple(images.target_names.tolist())
    return Dataset(images.data.astype(np.int64), images.target.astype(np.int64), labels)
