"""Which columns of a file are read, and what a row's text or label is called by default."""

from __future__ import annotations

from dataclasses import dataclass

TEXT = "text"
LABEL = "label"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read; the others are carried.

    Attributes:
        ids: the one with lists of ids; by default `input_ids`.
        text: the one with texts, which is read in place of ids; by default `text`, where the file
            has no `input_ids`.
        label: the one with labels.
    """

    ids: str | None = None
    text: str | None = None
    label: str = LABEL
