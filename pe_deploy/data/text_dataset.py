"""Labelled texts, in memory, ready to be made rows of ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Label
from pe_deploy.data.dataset import checked_labels, checked_targets
from pe_deploy.errors import DataError


@dataclass(frozen=True)
class TextDataset:
    """Texts and the label of each.

    Attributes:
        texts: as they are, before any tokenizer; a list becomes a tuple.
        targets: int64 `[rows]`, the index of each text's label in `labels`.
        labels: the labels themselves, in the order of the model's classes.

    Raises:
        DataError: a text is no str, targets or labels are as `Dataset` refuses them, or there are
            not as many targets as texts.

    >>> rows = TextDataset(("guten Tag", "good day"), np.array([0, 1]), labels=("de", "en"))
    >>> rows.take(np.array([1])).texts
    ('good day',)
    """

    texts: Sequence[str]
    targets: NDArray[np.int64]
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(self.texts))
        for row, text in enumerate(self.texts, 1):
            if not isinstance(text, str):
                raise DataError(f"row {row}: a {type(text).__name__}; allowed: text")
        object.__setattr__(self, "labels", checked_labels(self.labels))
        object.__setattr__(
            self, "targets", checked_targets(self.targets, len(self.texts), self.labels, "texts")
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        from pe_deploy.view.text import few

        return f"<TextDataset: {len(self):,} texts; labels {few(self.labels)}>"

    def take(self, rows: NDArray[np.int64]) -> TextDataset:
        """The given rows, in the given order."""
        texts = [self.texts[row] for row in rows.tolist()]
        return TextDataset(texts, self.targets[rows], self.labels)
