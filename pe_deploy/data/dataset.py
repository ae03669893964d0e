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
        for name, axes in (("input_ids", ("rows", "length")), ("targets", ("rows",))):
            object.__setattr__(self, name, _int64(name, getattr(self, name), axes))
        object.__setattr__(self, "labels", _labels(self.labels))
        if len(self.input_ids) != len(self.targets):
            raise DataError(
                f"targets are {len(self.targets)}; allowed: {len(self.input_ids)}, "
                "one for each row of input_ids"
            )
        wrong = (self.targets < 0) | (self.targets >= len(self.labels))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"row {row + 1}: target is {self.targets[row]}; "
                f"allowed: 0 to {len(self.labels) - 1}"
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


def _labels(given: object) -> tuple[Label, ...]:
    if not isinstance(given, list | tuple):
        raise DataError(f"labels is a {type(given).__name__}; allowed: a tuple")
    labels = tuple(label.item() if isinstance(label, np.generic) else label for label in given)
    if {type(label) for label in labels} not in ({int}, {str}):
        raise DataError(f"labels are {list(labels)}; allowed: all int or all str")
    if not len(set(labels)) == len(labels) >= 2:
        raise DataError(f"labels are {list(labels)}; allowed: at least 2 different labels")
    return labels
