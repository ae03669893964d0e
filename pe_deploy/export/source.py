"""What is exported: a trained module, and what has to be known to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pe_deploy.bundle.describe import sentence, signature_facts
from pe_deploy.bundle.manifest import Compact
from pe_deploy.config import Decision, Label, Signature
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.training import Checkpoint
from pe_deploy.view import html


@dataclass(frozen=True)
class LabelledRows:
    """Rows of the data, int64 `[rows, length]`, and the class of each, int64 `[rows]` or None."""

    input_ids: NDArray[np.int64]
    targets: NDArray[np.int64] | None

    def __repr__(self) -> str:
        rows, length = self.input_ids.shape
        known = "without" if self.targets is None else "with"
        return f"<LabelledRows: {rows:,} rows of {length} ids, {known} their classes>"


@dataclass(frozen=True)
class Source:
    """A trained module and what has to be known to use it.

    Attributes:
        module: maps int64 `[batch, sequence]` to logits as the signature says.
        signature: what the module takes and gives.
        labels: the label of each class.
        threshold: the probability above which a binary model answers `labels[1]`.
        model: the architecture's own config, if it has one.
        rows: rows of the data, best those that it was validated on, to judge decisions with.
        weights_sha256: digest of the weights as they were trained; by default those of `module`.
        origin: what the manifest says of where the module came from and how it is called.
        notes: what was read off, unwrapped or computed, a line each.
        encoder: what makes ids of texts; None for a model that takes ids alone.
        texts: texts of the data, best those that it was validated on, to record the ids of.
        compact: how the module's weights were rounded; None where they are as they were trained.
        is_ready: whether `module` is as the signature says, with nothing left to adapt.
    """

    module: nn.Module
    signature: Signature
    labels: tuple[Label, ...]
    threshold: float | None
    model: Mapping[str, Any] | None = None
    rows: LabelledRows | None = None
    weights_sha256: str | None = None
    origin: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    encoder: TextEncoder | None = None
    texts: tuple[str, ...] = ()
    compact: Compact | None = None
    is_ready: bool = False

    @classmethod
    def of(cls, trained: Checkpoint) -> Source:
        """The module of a checkpoint, with the rows that it was validated on."""
        rows = trained.validation
        return cls(
            trained.model,
            trained.config.signature,
            trained.labels,
            trained.threshold,
            trained.config.to_dict(),
            None if rows is None else LabelledRows(rows.input_ids, rows.targets),
            notes=tuple(f"weights: {note}" for note in trained.notes),
            encoder=trained.encoder,
            texts=trained.validation_texts,
            is_ready=True,
        )

    def __repr__(self) -> str:
        return f"<Source {type(self.module).__name__}: {sentence(self.signature, self.decision)}>"

    def _repr_html_(self) -> str:
        return html.page(
            f"Source: {type(self.module).__name__}",
            html.facts(signature_facts(self.signature, self.decision)),
            html.line(f"judged on: {self.rows or 'random rows'}"),
            *map(html.line, self.notes),
        )

    @property
    def decision(self) -> Decision:
        """How labels are taken from the logits."""
        return Decision(self.labels, self.threshold, self.signature.task)
