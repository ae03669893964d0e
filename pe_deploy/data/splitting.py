"""Hold some rows back, with the labels in the same proportions."""

from __future__ import annotations

import numpy as np

from pe_deploy.data.dataset import Dataset
from pe_deploy.errors import DataError, InvalidInputError, requires_extra


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into training rows and held-out rows, stratified by label.

    Both parts keep the order the rows had, so the seed decides membership and nothing else. A
    `fraction` of 0 holds no row back: the second part is empty.

    Args:
        dataset: at least two rows of each label.
        fraction: the share of the rows to hold back, 0 up to below 1.
        seed: 0 or more; the same seed gives the same parts.

    Raises:
        InvalidInputError: `fraction` or `seed` is out of range.
        DataError: a label has a single row, or a part would be too small to hold every label.
        MissingDependencyError: scikit-learn is not installed.
    """
    if not 0 <= fraction < 1:
        raise InvalidInputError(f"fraction is {fraction}; allowed: 0 up to below 1")
    if seed < 0:
        raise InvalidInputError(f"seed is {seed}; allowed: 0 or more")
    rows = np.arange(len(dataset))
    if fraction == 0:
        return dataset, dataset.take(rows[:0])

    held_out = round(fraction * len(dataset))
    _check_parts(dataset, fraction, held_out)
    with requires_extra("train"):
        from sklearn.model_selection import train_test_split
    train_rows, held_out_rows = train_test_split(
        rows,
        test_size=held_out,
        stratify=dataset.targets,
        # As a plain number, scikit-learn takes seeds below 2**32 only.
        random_state=np.random.RandomState(np.random.MT19937(seed)),
    )
    return dataset.take(np.sort(train_rows)), dataset.take(np.sort(held_out_rows))


def _check_parts(dataset: Dataset, fraction: float, held_out: int) -> None:
    counts = np.bincount(dataset.targets, minlength=len(dataset.labels))
    if (counts == 1).any():
        label = dataset.labels[int(np.argmax(counts == 1))]
        raise DataError(f"label {label!r} has 1 row; a stratified split needs at least 2 of each")
    num_labels = int((counts > 0).sum())
    smaller = min(held_out, len(dataset) - held_out)
    if smaller < num_labels:
        raise DataError(
            f"holding back {fraction} of {len(dataset)} rows leaves a part with {smaller} rows; "
            f"it needs at least {num_labels}, one for each label"
        )
