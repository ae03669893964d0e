"""Hold some rows back, with the labels in the same proportions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data.dataset import Dataset
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import DataError, InvalidInputError, requires_extra

Rows = TypeVar("Rows", Dataset, TextDataset)


def split(
    dataset: Rows, fraction: float, seed: int, note: Callable[[str], None] | None = None
) -> tuple[Rows, Rows]:
    """Split into training rows and held-out rows, stratified by label.

    Both parts keep the order the rows had, so the seed decides membership and nothing else. The
    row of a label that has no other is trained on. A `fraction` of 0 holds no row back: the second
    part is empty.

    Args:
        dataset: rows with labels.
        fraction: the share of the rows to hold back, 0 up to below 1.
        seed: 0 or more; the same seed gives the same parts.
        note: called with a line that names the labels with a single row, if there are any.

    Raises:
        InvalidInputError: `fraction` or `seed` is out of range.
        DataError: a part would be too small to hold every label that has several rows.
        MissingDependencyError: scikit-learn is not installed.
    """
    if not 0 <= fraction < 1:
        raise InvalidInputError(f"fraction is {fraction}; allowed: 0 up to below 1")
    if seed < 0:
        raise InvalidInputError(f"seed is {seed}; allowed: 0 or more")
    rows = np.arange(len(dataset))
    if fraction == 0:
        return dataset, dataset.take(rows[:0])

    counts = np.bincount(dataset.targets, minlength=len(dataset.labels))
    is_single = (counts == 1)[dataset.targets]
    divided = rows[~is_single]
    held_out = round(fraction * len(dataset))
    _check_parts(len(dataset), len(divided), fraction, held_out, int((counts > 1).sum()))
    if is_single.any() and note is not None:
        note(_singles(dataset, counts))
    with requires_extra("train"):
        from sklearn.model_selection import train_test_split
    train_rows, held_out_rows = train_test_split(
        divided,
        test_size=held_out,
        stratify=dataset.targets[divided],
        # As a plain number, scikit-learn takes seeds below 2**32 only.
        random_state=np.random.RandomState(np.random.MT19937(seed)),
    )
    train_rows = np.concatenate([train_rows, rows[is_single]])
    return dataset.take(np.sort(train_rows)), dataset.take(np.sort(held_out_rows))


def _check_parts(rows: int, divided: int, fraction: float, held_out: int, num_labels: int) -> None:
    smaller = min(held_out, divided - held_out)
    if smaller < max(1, num_labels):
        raise DataError(
            f"holding back {fraction} of {rows} rows leaves a part with {max(0, smaller)} rows; "
            f"it needs at least {max(1, num_labels)}, one for each label"
        )


def _singles(dataset: Rows, counts: NDArray[np.int64]) -> str:
    from pe_deploy.view.text import few

    labels = [repr(dataset.labels[index]) for index in np.flatnonzero(counts == 1)]
    one = len(labels) == 1
    return (
        f"{'label' if one else 'labels'} {few(labels)} {'has' if one else 'have'} 1 row"
        f"{'' if one else ' each'}, which is trained on and not held out"
    )
