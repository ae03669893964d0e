"""Labelled rows of ids, in memory, ready to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Label
from pe_deploy.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Rows of token ids and the label of each.

    Integers of other dtypes become int64, a list of labels becomes a tuple, numpy's numbers and
    texts among them become Python's.

    Attributes:
        input_ids: int64 `[rows, length]`; rows are right-padded with `pad_id` where they differ.
        targets: int64 `[rows]`, the index of each row's label in `labels`.
        labels: the labels themselves, in the order of the model's classes.
        pad_id: the id that pads short rows, or None where all rows have one length.

    Raises:
        DataError: the arrays are not integers of these shapes, there are fewer than two labels,
            labels are repeated or neither all int nor all str, or a target is not of a label.

    >>> rows, targets = np.array([[1, 2], [3, 4]]), np.array([0, 1])
    >>> Dataset(rows, targets, labels=("ham", "spam")).take(targets[1:]).input_ids
    array([[3, 4]])
    """

    input_ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    labels: tuple[Label, ...]
    pad_id: int | None = None

    def __post_init__(self) -> None:
        # Checked here: a wrong target would train a wrong model, and say nothing.
        ids = _int64("input_ids", self.input_ids, ("rows", "length"))
        object.__setattr__(self, "input_ids", ids)
        object.__setattr__(self, "labels", checked_labels(self.labels))
        object.__setattr__(
            self, "targets", checked_targets(self.targets, len(ids), self.labels, "input_ids")
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        from pe_deploy.view.text import few

        padded = "" if self.pad_id is None else f", padded with {self.pad_id}"
        return (
            f"<Dataset: {len(self):,} rows of {self.input_ids.shape[1]} ids{padded}; "
            f"labels {few(self.labels)}>"
        )

    def _repr_html_(self) -> str:
        from pe_deploy.view import html

        counts = np.bincount(self.targets, minlength=len(self.labels)).tolist()
        rows = zip(self.labels, counts, strict=True)
        return html.page(repr(self)[1:-1], html.table("", ("label", "rows"), rows))

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """The given rows, in the given order."""
        return Dataset(self.input_ids[rows], self.targets[rows], self.labels, self.pad_id)


def _int64(name: str, values: object, axes: tuple[str, ...]) -> NDArray[np.int64]:
    allowed = f"allowed: an array of integers [{', '.join(axes)}]"
    if not isinstance(values, np.ndarray):
        raise DataError(f"{name} is a {type(values).__name__}; {allowed}")
    if values.dtype.kind not in "iu" or values.ndim != len(axes):
        raise DataError(f"{name} is {values.dtype} of shape {values.shape}; {allowed}")
    # Contiguous and writable, as torch wants the memory it shares.
    converted: NDArray[np.int64] = np.require(values, np.int64, ["C", "W"])
    if values.dtype.kind == "u" and (converted < 0).any():
        raise DataError(f"{name} has {values.max()}, which is outside int64; {allowed}")
    return converted


def checked_targets(
    given: object, rows: int, labels: tuple[Label, ...], of: str
) -> NDArray[np.int64]:
    """Targets as int64 `[rows]`, once each is known to be of a row and of a label.

    Raises:
        DataError: they are no integers of this shape, or one is not of a label.
    """
    targets = _int64("targets", given, ("rows",))
    if len(targets) != rows:
        raise DataError(f"targets are {len(targets)}; allowed: {rows}, one for each row of {of}")
    wrong = (targets < 0) | (targets >= len(labels))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"row {row + 1}: target is {targets[row]}; allowed: 0 to {len(labels) - 1}")
    return targets


def checked_labels(given: object) -> tuple[Label, ...]:
    """Labels as a tuple of Python's int or str, once they are known to be distinct.

    Raises:
        DataError: there are fewer than two, some are the same, or they are of other types.
    """
    if not isinstance(given, list | tuple):
        raise DataError(f"labels is a {type(given).__name__}; allowed: a tuple")
    labels = tuple(label.item() if isinstance(label, np.generic) else label for label in given)
    if {type(label) for label in labels} not in ({int}, {str}):
        raise DataError(f"labels are {list(labels)}; allowed: all int or all str")
    if not len(set(labels)) == len(labels) >= 2:
        raise DataError(f"labels are {list(labels)}; allowed: at least 2 different labels")
    return labels
