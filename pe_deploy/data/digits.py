"""Handwritten digits as sequences: a real data set that needs no download."""

from __future__ import annotations

import numpy as np

from pe_deploy.data.dataset import Dataset
from pe_deploy.errors import requires_extra


def digits() -> Dataset:
    """The 1797 images of scikit-learn's digits, each one row of 64 ids, with labels 0 to 9.

    An id is a pixel's brightness, 0 to 16; the 8x8 pixels follow in reading order.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    with requires_extra("train"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    return Dataset(
        input_ids=bunch.data.astype(np.int64),
        targets=bunch.target.astype(np.int64),
        labels=tuple(bunch.target_names.tolist()),
    )
