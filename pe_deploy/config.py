"""What callers see of a model, its signature and decision: frozen, validated, JSON in and out.

Also the names that every artifact shares: tensors, axes, and the two sizes that stay free. What is
inside a model, and how it is trained, is in `model_config`, which no app that runs a bundle
imports.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

INPUT_IDS = "input_ids"
LOGITS = "logits"
BATCH = "batch"
SEQUENCE = "sequence"

Label = int | str
Task = Literal["classes", "multilabel", "regression", "tokens"]
"""What an answer is: one label of several (or of two, from one logit), any number of labels,
numbers, or one label for each token."""

TASKS: tuple[Task, ...] = ("classes", "multilabel", "regression", "tokens")

Weights = Literal["best", "last"]
"""Of a training run: those of the lowest validation loss, or those of the last epoch."""

CompactDtype = Literal["float16", "int8"]
"""What the weights of a compact bundle are rounded to."""

LARGEST_SIZE = 2**31 - 1
"""The largest number of tokens, ids, classes or units."""

_LABELS_SHOWN = 10


class Config:
    """JSON in and out for a frozen dataclass that checks itself when made."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON values.

        Raises:
            InvalidInputError: a field is missing, unknown, or outside its range.
        """
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        unknown = sorted(set(values) - {field.name for field in fields})
        missing = sorted(
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.name not in values
        )
        if unknown or missing:
            raise InvalidInputError(
                f"{cls.__name__}: unknown fields {unknown}, missing fields {missing}"
            )
        return cls(**values)

    def check_int(self, name: str, lowest: int, highest: float = math.inf) -> None:
        """Check that a field is a whole number in a range."""
        value = getattr(self, name)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole and lowest <= value <= highest):
            allowed = f"{lowest} or more" if highest == math.inf else f"{lowest} to {highest}"
            raise InvalidInputError(f"{name} is {value!r}; allowed: a whole number, {allowed}")

    def check_float(self, name: str, lowest: float, below: float) -> None:
        """Check that a field is a finite number in a range."""
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and lowest <= value < below):
            raise InvalidInputError(f"{name} is {value!r}; allowed: {lowest} up to below {below}")


@dataclass(frozen=True)
class Signature(Config):
    """What a caller has to know of a model, whatever is inside it.

    Ids run from 0 to `vocab_size - 1`, rows from `min_length` to `max_length` ids. With a `pad_id`,
    rows are right-padded with it and the padding is ignored. The logits are float32:

    | task | one of `num_classes` | more |
    | --- | --- | --- |
    | classes, regression | `[batch]` | `[batch, num_classes]` |
    | multilabel | `[batch, 1]` | `[batch, num_classes]` |
    | tokens | `[batch, sequence]` | `[batch, sequence, num_classes]` |

    Raises:
        InvalidInputError: a size is below 1, `min_length` is above `max_length`, `pad_id` is not in
            the vocabulary, or the task is none of `TASKS`.

    >>> Signature(vocab_size=12, max_length=10).output_axes
    ('batch',)
    >>> Signature(vocab_size=20, max_length=12, num_classes=3).output_axes
    ('batch', 3)
    >>> Signature(vocab_size=20, max_length=12, num_classes=5, task="tokens").output_axes
    ('batch', 'sequence', 5)
    """

    vocab_size: int
    max_length: int
    num_classes: int = 1
    pad_id: int | None = None
    min_length: int = 1
    task: Task = "classes"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_length", "num_classes"):
            self.check_int(name, 1, LARGEST_SIZE)
        self.check_int("min_length", 1, self.max_length)
        if self.pad_id is not None:
            self.check_int("pad_id", 0, self.vocab_size - 1)
            self.check_int("vocab_size", 2, LARGEST_SIZE)  # the padding, and something to pad
        if self.task not in TASKS:
            raise InvalidInputError(f"task is {self.task!r}; allowed: {', '.join(TASKS)}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values; those that came later only where they say something."""
        later = {"min_length": 1, "task": "classes"}
        return {k: v for k, v in super().to_dict().items() if k not in later or v != later[k]}

    @property
    def num_labels(self) -> int:
        """How many labels the model tells apart, or numbers it gives: 2 for a binary logit."""
        return max(2, self.num_classes) if self.is_exclusive else self.num_classes

    @property
    def is_exclusive(self) -> bool:
        """Whether an answer is one label, for a row or for a token."""
        return self.task in ("classes", "tokens")

    @property
    def input_axes(self) -> tuple[str, ...]:
        """The axes of `input_ids`."""
        return (BATCH, SEQUENCE)

    @property
    def output_axes(self) -> tuple[str | int, ...]:
        """The axes of `logits`; a number is an axis of that size."""
        rows = (BATCH, SEQUENCE) if self.task == "tokens" else (BATCH,)
        one = self.num_classes == 1 and self.task != "multilabel"
        return rows if one else (*rows, self.num_classes)

    def output_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """The shape of `logits` for a batch of rows of one length."""
        sizes = {BATCH: batch, SEQUENCE: length}
        return tuple(a if isinstance(a, int) else sizes[a] for a in self.output_axes)

    def answer_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """The shape of the answers: one for each row, token, label of multilabel, or number."""
        shape = self.output_shape(batch, length)
        return shape[: 2 if self.task == "tokens" else 1] if self.is_exclusive else shape

    def is_token(self, input_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each id is no padding, bool of the same shape."""
        if self.pad_id is None:
            return np.ones(input_ids.shape, np.bool_)
        return np.asarray(input_ids != self.pad_id)

    def zero_padding(self, logits: NDArray[Any], input_ids: NDArray[np.int64]) -> NDArray[Any]:
        """Logits with 0 where they answer padding, which has no answer.

        Only those of the task tokens do; all others come back as they are. Shape and dtype stay.
        """
        if self.task != "tokens" or self.pad_id is None:
            return logits
        kept = self.is_token(input_ids).reshape(*input_ids.shape, *(1,) * (logits.ndim - 2))
        return np.where(kept, logits, logits.dtype.type(0))


@dataclass(frozen=True)
class Decision:
    """From logits to probabilities and labels: the only place where that is done.

    - One label (tasks classes and tokens). Of a binary logit `z` the probabilities are the softmax
      of `(0, z)`, which is `1 - sigmoid(z)` and `sigmoid(z)`, each exact in its tail; `labels[1]`
      is the answer where its probability is above `threshold`. Of several logits, one a class,
      they are the softmax, and the largest logit is the answer (the first of equals); there is no
      threshold then.
    - Any number of labels (multilabel). The probability of each is the sigmoid of its logit, and
      each whose probability is above `threshold` is part of the answer.
    - Numbers (regression). The logits are the answer; `labels` are their names.

    >>> import numpy as np
    >>> decision = Decision(labels=("ham", "spam"), threshold=0.5)
    >>> decision.labels_of(np.array([-1.5, 2.0]))
    array(['ham', 'spam'], dtype='<U4')
    >>> decision.probabilities(np.array([-1.5, 2.0])).round(3)
    array([[0.818, 0.182],
           [0.119, 0.881]])
    >>> Decision(("rude", "loud"), 0.5, "multilabel").labels_of(np.array([[1.0, 2.0], [-1, -1]]))
    [('rude', 'loud'), ()]

    Attributes:
        labels: the label of each class, all int or all str; of a regression, names of the numbers.
        threshold: 0.0 to 1.0 for a binary logit and for multilabel, else None.
        task: the signature's.
    """

    labels: tuple[Label, ...]
    threshold: float | None = None
    task: Task = "classes"

    def __repr__(self) -> str:
        rest = len(self.labels) - _LABELS_SHOWN
        labels = ", ".join(map(repr, self.labels[:_LABELS_SHOWN]))
        labels += f", … {rest:,} more" if rest > 0 else ""
        return f"Decision(labels=({labels}), threshold={self.threshold!r}, task={self.task!r})"

    def check(self, signature: Signature) -> None:
        """Check that labels and threshold fit a model's output.

        Raises:
            InvalidInputError: not one distinct label a class, all int or all str; or a threshold
                that is missing, superfluous or outside 0 to 1.
        """
        labels, threshold = self.labels, self.threshold
        if {type(label) for label in labels} not in ({int}, {str}):
            raise InvalidInputError(f"labels are {list(labels)}; allowed: all int or all str")
        for label in labels:
            if not _survives(label):
                raise InvalidInputError(
                    f"label {label!r} would not come back unchanged; allowed: int64, or Unicode "
                    "text that does not end with NUL"
                )
        if not len(set(labels)) == len(labels) == signature.num_labels:
            raise InvalidInputError(
                f"labels are {list(labels)}; allowed: {signature.num_labels} distinct labels"
            )
        if self.task != signature.task:
            raise InvalidInputError(f"task is {self.task!r}; allowed: {signature.task!r}")
        if not takes_threshold(signature):
            if threshold is not None:
                what = "classes" if signature.is_exclusive else signature.task
                raise InvalidInputError(f"threshold is {threshold!r}; allowed: none with {what}")
        elif type(threshold) is not float or not 0.0 <= threshold <= 1.0:
            raise InvalidInputError(f"threshold is {threshold!r}; allowed: 0.0 to 1.0")

    @cached_property
    def label_array(self) -> NDArray[Any]:
        """The labels as `[labels]`, int64 or str."""
        return np.array(self.labels)

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The probability of each label, float64 `[…, labels]`.

        From `[…]` (binary) or `[…, num_classes]`. They sum to 1, but for multilabel.

        Raises:
            InvalidInputError: the task is regression, which has none.
        """
        self._check_has_labels("probabilities")
        if self.task == "multilabel":
            return sigmoid(logits)
        exact = _by_label(logits, self.threshold is not None)
        shifted = np.exp(exact - exact.max(axis=-1, keepdims=True))
        probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
        return probabilities

    def classes(self, logits: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """The index of each answer in `labels`, int64 `[batch]`, for tokens `[batch, sequence]`.

        For multilabel, whether each label is part of the answer, bool `[batch, labels]`.

        Raises:
            InvalidInputError: the task is regression, which has no labels.
        """
        self._check_has_labels("labels")
        if self.threshold is None:
            return np.asarray(logits.argmax(axis=-1))
        # Of one logit, to the bit the second of both `probabilities`, in half their time or less.
        chosen = np.asarray(sigmoid(logits) > self.threshold)
        return chosen if self.task == "multilabel" else chosen.astype(np.int64)

    def labels_of(self, logits: NDArray[np.floating[Any]]) -> Any:
        """The answers.

        Returns:
            The label of each row, `[batch]`; for tokens `[batch, sequence]`; for multilabel a list
            with the labels of each row, in the order of `labels`; for regression the logits.
        """
        if self.task == "regression":
            return logits
        if self.task == "multilabel":
            return [
                tuple(label for label, chosen in zip(self.labels, row, strict=True) if chosen)
                for row in self.classes(logits).tolist()
            ]
        return self.label_array[self.classes(logits)]

    def recorded(self, logits: NDArray[np.floating[Any]]) -> NDArray[Any] | None:
        """The answers as an array that shows each one, to record beside the logits.

        Returns:
            The label of each row, `[batch]`; for tokens `[batch, sequence]`. For multilabel
            `[batch, labels]`, text: each label behind a `+` where it is part of the answer, else
            behind a `-`. For regression None: it has no labels.
        """
        if self.task == "regression":
            return None
        if self.task == "multilabel":
            chosen, other = (np.array([f"{sign}{each}" for each in self.labels]) for sign in "+-")
            return np.where(self.classes(logits), chosen, other)
        return np.asarray(self.labels_of(logits))

    def with_probability(
        self, logits: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The label of each row or token and the probability of that label, float64.

        With a threshold that is not 0.5, the probability may be below a half.

        Raises:
            InvalidInputError: the task is one whose answer is not one label.
        """
        if self.task not in ("classes", "tokens"):
            raise InvalidInputError(f"task is {self.task}; one label needs classes or tokens")
        probabilities = self.probabilities(logits)
        classes = self.classes(logits)
        chosen = np.take_along_axis(probabilities, classes[..., None], axis=-1)[..., 0]
        return self.label_array[classes], chosen

    def _check_has_labels(self, what: str) -> None:
        if self.task == "regression":
            raise InvalidInputError(f"task is regression, whose numbers have no {what}")

    def margins(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """How far each answer's logits are from another answer, float64, one for each answer.

        A shift of every logit by less than half of it (for a binary logit, or one of multilabel:
        by less than it) cannot change the answer.
        """
        exact = logits.astype(np.float64)
        if self.threshold is not None:
            with np.errstate(divide="ignore"):
                edge = np.log(self.threshold) - np.log1p(-self.threshold)
            distances: NDArray[np.float64] = np.abs(exact - edge)
            return distances
        top = np.sort(exact, axis=-1)[..., -2:]
        margins: NDArray[np.float64] = (top[..., 1] - top[..., 0]) / 2
        return margins


def takes_threshold(signature: Signature) -> bool:
    """Whether labels are chosen by a probability each: of a binary logit, and for multilabel."""
    return signature.task == "multilabel" or (signature.is_exclusive and signature.num_classes == 1)


def sigmoid(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """`1 / (1 + exp(-z))` in float64, exact in both tails."""
    exact = logits.astype(np.float64)
    small = np.exp(-np.abs(exact))
    probabilities: NDArray[np.float64] = np.where(exact < 0, small, 1.0) / (1.0 + small)
    return probabilities


def cross_entropy(logits: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float:
    """Mean cross-entropy in float64 of logits `[batch]` (binary) or `[batch, num_classes]`."""
    exact = _by_label(logits, logits.ndim == 1)
    highest = exact.max(axis=1)
    log_sum = highest + np.log(np.exp(exact - highest[:, None]).sum(axis=1))
    return float((log_sum - exact[np.arange(len(exact)), targets]).mean())


def _by_label(logits: NDArray[np.floating[Any]], binary: bool) -> NDArray[np.float64]:
    """Logits in float64, one for each label: of a binary logit z, `(0, z)`."""
    exact = logits.astype(np.float64)
    return np.stack([np.zeros_like(exact), exact], axis=-1) if binary else exact


def _survives(label: Label) -> bool:
    """Whether JSON and a numpy array give the label back as it is."""
    if isinstance(label, int):
        return -(2**63) <= label < 2**63
    return not label.endswith("\0") and label.encode(errors="replace").decode() == label
