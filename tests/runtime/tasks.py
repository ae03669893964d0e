"""A toy model for each task, in numpy alone: every id and its place count, padding does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy import Signature
from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision, Label
from pe_deploy.parity import golden_inputs
from pe_deploy.runtime.classifier import Classifier, Run, in_chunks

GARBAGE = 1e4
"""What a token task's toy answers to padding."""


@dataclass(frozen=True)
class Toy:
    """A signature with its decision, and the model in float64."""

    signature: Signature
    labels: tuple[Label, ...]
    threshold: float | None = None

    @property
    def decision(self) -> Decision:
        return Decision(self.labels, self.threshold, self.signature.task)

    def exact(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """The logits; of a token task, garbage for padding."""
        is_token = self.signature.is_token(ids)[..., None]
        angles = 0.7 * ids[..., None] + np.arange(self.signature.num_classes)
        places = np.cos(np.arange(ids.shape[1]))[:, None]
        scores = np.where(is_token, np.sin(angles) * places, 0.0)
        if self.signature.task == "tokens":
            logits = np.where(is_token, scores.cumsum(axis=1), GARBAGE)
        else:
            logits = scores.sum(axis=1)
        return logits.reshape(self.signature.output_shape(*ids.shape))

    def rounded(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.exact(ids).astype(np.float32)

    def golden(self, targets: NDArray[np.int64] | NDArray[np.float64] | None = None) -> GoldenCase:
        """Forty random rows with what is recorded for them."""
        return self.case(self.random_rows(), recorded=True, targets=targets)

    def goldens(self) -> list[GoldenCase]:
        """As a bundle has them: several shapes, and at last what decisions are judged by."""
        return [*(self.case(ids) for ids in golden_inputs(self.signature)), self.golden()]

    def random_rows(self) -> NDArray[np.int64]:
        rng, signature = np.random.default_rng(8), self.signature
        ids = rng.integers(1, signature.vocab_size, (40, signature.max_length))
        if signature.pad_id is not None:
            lengths = rng.integers(signature.min_length, signature.max_length + 1, (40, 1))
            ids[np.arange(signature.max_length) >= lengths] = signature.pad_id
        return ids

    def case(
        self,
        ids: NDArray[np.int64],
        recorded: bool = False,
        targets: NDArray[np.int64] | NDArray[np.float64] | None = None,
    ) -> GoldenCase:
        exact = self.signature.zero_padding(self.exact(ids), ids)
        labels = self.decision.recorded(exact) if recorded else None
        return GoldenCase(ids, exact, exact.astype(np.float32), labels, targets)


TOYS = {
    "classes": Toy(Signature(9, 6, 3, pad_id=0), ("low", "middle", "high")),
    "binary": Toy(Signature(9, 6), (0, 1), 0.5),
    "multilabel": Toy(
        Signature(9, 6, 3, pad_id=0, min_length=2, task="multilabel"), ("rude", "loud", "wet"), 0.5
    ),
    "one label": Toy(Signature(9, 6, task="multilabel"), (7,), 0.25),
    "regression": Toy(Signature(9, 6, pad_id=0, min_length=2, task="regression"), ("price",)),
    "numbers": Toy(Signature(9, 6, 2, task="regression"), ("width", "height")),
    "tokens": Toy(Signature(9, 6, 3, pad_id=0, min_length=2, task="tokens"), ("O", "B", "I")),
    "binary tokens": Toy(Signature(9, 6, pad_id=0, task="tokens"), (0, 1), 0.5),
    "tokens of full rows": Toy(Signature(9, 6, 3, min_length=4, task="tokens"), ("O", "B", "I")),
}
"""Each task with one logit and several, with padding and without."""


class ToyClassifier(Classifier):
    """Runs a toy in float32."""

    def __init__(self, toy: Toy, threshold: float | None = None) -> None:
        super().__init__(toy.signature, toy.decision, threshold)
        self._toy = toy

    def _open(self) -> Run:
        return in_chunks(self._toy.rounded)
