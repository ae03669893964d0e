"""Make a failing input small enough to look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def smallest_failure(
    ids: NDArray[np.int64], fails: Callable[[NDArray[np.int64]], bool], shortest: int = 1
) -> NDArray[np.int64]:
    """Take rows, then columns, away from a failing input for as long as it fails.

    The first single row that fails by itself is taken if there is one; otherwise the number of
    rows is halved as far as it goes. Then the shortest beginning of the rows that fails is taken.

    Args:
        ids: int64 `[batch, …, sequence]`, an input that fails; a row may be several, as a pair is.
        fails: whether a part of it still does.
        shortest: the fewest columns that are allowed.
    """
    alone = next((row[None] for row in ids if fails(row[None])), None)
    if alone is not None:
        ids = alone
    else:
        while len(ids) > 1 and fails(ids[: len(ids) // 2]):
            ids = ids[: len(ids) // 2]
    for length in range(shortest, ids.shape[-1]):
        if fails(ids[..., :length]):
            return ids[..., :length]
    return ids
