"""What every predictor shares: checked input, chunks, finite answers, probabilities, labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import isfinite
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Decision, Label, Signature
from pe_deploy.errors import PredictionError
from pe_deploy.runtime import fork
from pe_deploy.runtime.plan import Run, chunks, largest_chunk
from pe_deploy.runtime.validation import to_input_ids

_FEW = 32
"""Up to so many logits, Python's own numbers are faster to look through than numpy's."""

SelfT = TypeVar("SelfT", bound="Classifier")


class Classifier(ABC):
    """A model behind the engine that a subclass brings.

    Every method takes `input_ids`: integers `[batch, sequence]` of any integer dtype, as an array
    or nested lists; where the model has a `pad_id`, also rows of differing length. A batch of no
    rows gives an empty answer. Every method raises `InvalidInputError`, naming row, column, value
    and allowed range, for anything else; and `PredictionError` where the model's answer is not
    finite, the engine fails, or the classifier was closed.

    In an app:

    - Many threads may use one classifier at once.
    - After a fork (gunicorn, multiprocessing) the child opens an engine of its own, from the model
      that the classifier keeps in memory, when it is first asked.
    - It can be pickled and copied (spawn, joblib, Ray, Spark): the model travels along, and the
      copy opens an engine of its own.
    - A large input is run in chunks, so that memory does not grow with it beyond its answer.
    - `close` gives the engine's memory and threads back; `with` does so at the end of its block.
    """

    def __init__(self, signature: Signature, decision: Decision) -> None:
        self.signature = signature
        self.decision = decision
        self._columns = () if signature.num_classes == 1 else (signature.num_classes,)
        self._run: Run | None = None
        self._closed = False

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each class."""
        return self.decision.labels

    @property
    def threshold(self) -> float | None:
        """The probability above which a binary model answers `labels[1]`; None with classes."""
        return self.decision.threshold

    def predict_logits(self, input_ids: Any) -> NDArray[np.float32]:
        """The raw output of the model, every number of it finite.

        Returns:
            float32 `[batch]` for a binary model, else `[batch, num_classes]`.
        """
        run = self._run or self._reopened()
        ids = to_input_ids(input_ids, self.signature)
        logits = np.empty((len(ids), *self._columns), np.float32)
        if len(ids):
            try:
                for rows, part in self._parts(run, ids):
                    logits[rows] = self._checked(part, rows, ids)
            except PredictionError:
                raise
            except Exception as error:
                line = " ".join(str(error).split())
                raise PredictionError(
                    f"the engine fails on batch {len(ids)} × length {ids.shape[1]}: "
                    f"{type(error).__name__}: {line}"
                ) from error
        check_finite(logits)
        return logits

    def predict_proba(self, input_ids: Any) -> NDArray[np.float64]:
        """The probability of each label: sigmoid of a binary logit, softmax of several.

        Returns:
            float64 `[batch, num_labels]`, rows sum to 1, columns in the order of `labels`.
        """
        return self.decision.probabilities(self.predict_logits(input_ids))

    def predict(self, input_ids: Any) -> NDArray[Any]:
        """The label of each row.

        Returns:
            `[batch]`, int64 or str as the labels are.
        """
        return self.decision.labels_of(self.predict_logits(input_ids))

    def predict_with_probability(self, input_ids: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The label of each row, and the probability of that label.

        Returns:
            Labels as from `predict`, and float64 `[batch]`. With a threshold that is not 0.5, a
            label may be given whose probability is below a half.
        """
        return self.decision.with_probability(self.predict_logits(input_ids))

    def close(self) -> None:
        """Give the engine back; predicting afterwards is a `PredictionError`.

        What another thread is predicting is still answered. Closing twice is closing once.
        """
        with fork.OPENING:
            self._closed = True
            self._run = None

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._closed:
            self._reopened()

    def forget_engine(self) -> None:
        """Leave the engine to the process that this one was forked from; only for `fork`."""
        if self._run is not None:
            fork.keep_for_ever(self._run)
            self._run = None

    @abstractmethod
    def _open(self) -> Run:
        """Open an engine in this process."""

    def _reopened(self) -> Run:
        """The engine, opened by the first thread that asks for it."""
        with fork.OPENING:
            if self._closed:
                raise PredictionError("this classifier was closed; open the bundle again")
            return self._run or self._hold(self._open)

    def _hold(self, opening: Callable[[], Run]) -> Run:
        with fork.OPENING:
            fork.forget_after_fork(self)
            self._run = opening()
            return self._run

    def _parts(
        self, run: Run, ids: NDArray[np.int64]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The logits of checked ids, in chunks of an order of their own."""
        for rows in chunks(len(ids), largest_chunk(ids.shape[1])):
            yield rows, run(ids[rows])

    def _checked(
        self, logits: NDArray[np.float32], rows: slice, ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        shape = (rows.stop - rows.start, *self._columns)
        if logits.shape != shape:
            raise PredictionError(
                f"the model answers batch {shape[0]} × length {ids.shape[1]} with logits "
                f"{list(logits.shape)} instead of {list(shape)}"
            )
        return logits


def check_finite(logits: NDArray[np.float32]) -> None:
    """Refuse infinity and NaN, which would otherwise become some label.

    The sum of a few float32 numbers in Python's double precision cannot overflow: it is finite
    exactly where each of them is.
    """
    if logits.size <= _FEW:
        finite = isfinite(sum(logits.ravel().tolist()))
    else:
        finite = bool(np.isfinite(logits).all())
    if finite:
        return
    row, *column = (int(index) for index in np.argwhere(~np.isfinite(logits))[0])
    which = f"the logit of class {column[0]}" if column else "the logit"
    raise PredictionError(
        f"{which} is {logits[(row, *column)]}; an answer needs finite numbers", row=row
    )
