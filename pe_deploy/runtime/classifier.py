"""What every predictor shares: checked input, chunks, finite answers, probabilities, labels."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pe_deploy.bundle.artifacts import MANIFEST, TOKENIZERS
from pe_deploy.bundle.bundle import Bundle, encoder_of, open_parts
from pe_deploy.bundle.manifest import FileRecord
from pe_deploy.config import Decision, Label, Signature
from pe_deploy.errors import BundleError, InvalidInputError, PredictionError, line_of
from pe_deploy.runtime import fork
from pe_deploy.runtime.given import shown
from pe_deploy.runtime.interpreter_exit import finished_before_exit
from pe_deploy.runtime.plan import count_chunks, cut, largest_chunk
from pe_deploy.runtime.validation import to_input_ids

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from pe_deploy.text.encoder import TextEncoder
    from pe_deploy.text.spec import TooLong, Truncation

Run = Callable[["NDArray[np.int64]"], "NDArray[np.float32]"]
"""From checked ids `[batch, sequence]`, at least one row and one column, to logits."""

_MOST_THREADS = 1024
_INT64 = np.dtype(np.int64)  # of this machine's byte order, and one object for all arrays of it


class Classifier(ABC):
    """A model behind the engine that a subclass brings.

    Every method takes rows of ids: integers `[batch, sequence]` of any integer dtype, as an array
    or nested lists; where the model has a `pad_id`, also rows of differing length. Where it
    `takes_text`, also texts: a list, tuple, array, or column of a table, one for each row. A batch
    of no rows gives an empty answer. Every method raises `InvalidInputError`, naming row, column,
    value and allowed range, for anything else; and `PredictionError` where the model's answer is
    not finite, the engine fails, or the classifier was closed.

    In an app:

    - Many threads may use one classifier at once.
    - After a fork (gunicorn, multiprocessing) the child opens an engine of its own, from the model
      that the classifier keeps in memory, when it is first asked.
    - It can be pickled and copied (spawn, joblib, Ray, Spark): the model travels along, and the
      copy opens an engine of its own.
    - A large input is run in chunks, so that memory does not grow with it beyond its answer.
    - `close` gives the engine's memory and threads back; `with` does so at the end of its block.
    """

    _guarded = False
    """Whether the engine itself refuses whatever is wrong with int64 `[batch, sequence]`."""

    _finished = False
    """Whether the engine itself answers padding with 0, and with finite numbers alone."""

    _engine_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)
    """What the engine raises where it fails. All else passes through, as what a signal handler of
    the app raises."""

    def __init__(
        self,
        signature: Signature,
        decision: Decision,
        threshold: float | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        if threshold is not None:
            decision = dataclasses.replace(decision, threshold=threshold)
            decision.check(signature)
        self.signature = signature
        self.decision = decision
        self._encoder = encoder
        self._per_token = signature.task == "tokens"
        self._columns = tuple(axis for axis in signature.output_axes if isinstance(axis, int))
        self._run: Run | None = None
        self._closed = False

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each class; of a regression, the name of each number."""
        return self.decision.labels

    @property
    def threshold(self) -> float | None:
        """The probability above which `labels[1]` of a binary model is the answer, or any label of
        a multilabel one; None with classes and with a regression.
        """
        return self.decision.threshold

    @property
    def takes_text(self) -> bool:
        """Whether texts are taken where rows of ids are."""
        return self._encoder is not None

    @property
    def truncation(self) -> Truncation | None:
        """Which end of a text that is too long is cut; None where none is."""
        return None if self._encoder is None else self._encoder.truncation

    @property
    def truncated(self) -> int:
        """How many texts were cut so far, each time that one was."""
        return 0 if self._encoder is None else self._encoder.truncated

    def encode(self, texts: Any) -> NDArray[np.int64]:
        """The ids that the model is given for some texts.

        Args:
            texts: a list, tuple, numpy array, pandas or polars Series, or pyarrow array of str.

        Returns:
            int64 `[texts, longest]`, padded on the right; `[0, 0]` for none.

        Raises:
            InvalidInputError: the model takes ids alone; or as every method raises it.
        """
        if self._encoder is None:
            raise InvalidInputError("this model takes ids alone: it has no tokenizer")
        if (given := self._texts_in(texts)) is None:
            if hasattr(texts, "__len__") and not len(texts):
                return np.empty((0, 0), np.int64)
            raise InvalidInputError(f"texts is {shown(texts)}; allowed: a list of texts")
        return self._encoder(given)

    def _texts_in(self, given: Any) -> list[str] | None:
        """The texts among what may be either texts or rows of ids."""
        if self._encoder is None:
            return None
        from pe_deploy.text.given import texts_of

        return texts_of(given)

    def input_ids(self, given: Any) -> NDArray[np.int64]:
        """The ids that the model is given for rows of ids or for texts, checked.

        Returns:
            int64 `[batch, sequence]`, padded on the right; `[0, 0]` for no rows.

        Raises:
            InvalidInputError: as every method raises it.
        """
        texts = self._texts_in(given)
        if texts is None or self._encoder is None:
            return to_input_ids(given, self.signature)
        return self._encoder(texts)

    def __repr__(self) -> str:
        from pe_deploy.bundle.describe import sentence  # not at an app's start, as below

        spec = None if self._encoder is None else self._encoder.spec
        return f"<{self._title}: {sentence(self.signature, self.decision, spec)}{self._state}>"

    def _repr_html_(self) -> str:
        from pe_deploy.bundle.describe import signature_facts, text_facts
        from pe_deploy.view import html

        text = [] if self._encoder is None else text_facts(self._encoder.spec)
        rows = [*signature_facts(self.signature, self.decision), *text, *self._engine_facts()]
        return html.page(f"{self._title}{self._state}", html.facts(rows))

    @property
    def _title(self) -> str:
        return type(self).__name__

    @property
    def _state(self) -> str:
        return "; closed" if self._closed else ""

    def _engine_facts(self) -> list[tuple[str, object]]:
        """What there is to say of the engine, a line each."""
        return []

    def predict_logits(self, input_ids: Any) -> NDArray[np.float32]:
        """The raw output of the model, every number of it finite.

        Returns:
            float32 of the shape that `Signature` states for the task: `[batch]` for a binary model,
            `[batch, num_classes]` for one with classes. For tokens, what would answer padding is 0.
        """
        run = self._run or self._reopened()
        if (
            self._guarded
            and type(input_ids) is np.ndarray
            and input_ids.dtype is _INT64
            and input_ids.ndim == 2
            and input_ids.flags.c_contiguous
        ):
            ids = input_ids
        else:
            ids = self.input_ids(input_ids)
        rows = len(ids)
        if rows == 0:
            return np.empty(self.signature.output_shape(0, 0), np.float32)
        try:
            logits = run(ids)
        except self._engine_errors as error:
            if ids is input_ids:
                to_input_ids(ids, self.signature)  # has the words for what a guard refuses
            raise PredictionError(
                f"the engine fails on batch {rows} × length {ids.shape[1]}: "
                f"{type(error).__name__}: {line_of(error, 1000)}"
            ) from error
        shape = (*ids.shape, *self._columns) if self._per_token else (rows, *self._columns)
        if logits.shape != shape:
            raise PredictionError(
                f"the model answers batch {rows} × length {ids.shape[1]} with logits "
                f"{list(logits.shape)} instead of {list(shape)}"
            )
        if self._finished:
            return logits
        if self._per_token:
            logits = self.signature.zero_padding(logits, ids)
        check_finite(logits, self._per_token)
        return logits

    def predict_proba(self, input_ids: Any) -> Any:
        """The probability of each label: sigmoid of a binary logit or of each of a multilabel
        model, softmax of several classes.

        Returns:
            float64 `[batch, num_labels]`, columns in the order of `labels`; rows sum to 1, but for
            multilabel. For tokens a list with one such array `[length, num_labels]` for each row,
            as long as the row is without its padding.

        Raises:
            InvalidInputError: the task is regression, which has none.
        """
        return self._by_row(input_ids, self.decision.probabilities)

    def predict(self, input_ids: Any) -> Any:
        """The answer for each row.

        Returns:
            The label of each row, `[batch]`, int64 or str as the labels are. For tokens a list with
            the labels of each row, `[length]`, as long as the row is without its padding. For
            multilabel a list with a tuple of labels for each row, in the order of `labels`. For a
            regression the logits, float32.
        """
        return self._by_row(input_ids, self.decision.labels_of)

    def predict_with_probability(self, input_ids: Any) -> tuple[Any, Any]:
        """The label of each row, or of each token, and the probability of that label.

        Returns:
            Labels as from `predict`, and float64 of the same shape. With a threshold that is not
            0.5, a label may be given whose probability is below a half.

        Raises:
            InvalidInputError: the task is regression or multilabel, whose answer is not one label.
        """
        labels, probabilities = self._by_row(input_ids, self.decision.with_probability)
        return labels, probabilities

    def _by_row(self, input_ids: Any, take: Callable[[NDArray[np.float32]], Any]) -> Any:
        """What a decision takes from logits; for tokens in a list, each row without padding."""
        if not self._per_token:
            return take(self.predict_logits(input_ids))
        ids = self.input_ids(input_ids)
        lengths = self.signature.is_token(ids).sum(axis=1).tolist()

        def rows(answers: NDArray[Any]) -> list[NDArray[Any]]:
            return [row[:length] for row, length in zip(answers, lengths, strict=True)]

        taken = take(self.predict_logits(ids))
        return tuple(map(rows, taken)) if isinstance(taken, tuple) else rows(taken)

    def close(self) -> None:
        """Give the engine back; predicting afterwards is a `PredictionError`.

        What another thread is predicting is still answered. Closing twice is closing once.
        """
        with fork.OPENING:
            self._closed = True
            self._run = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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


class BundleClassifier(Classifier):
    """Runs model files of a bundle, and carries them wherever it goes; the disk is read once.

    A forked process or a pickle's reader opens its engine from the bytes that were verified when
    the bundle was opened, once their size and SHA-256 are found to be those of the manifest. A
    pickle holds the manifest, these files and the settings. The check finds damage; who can write
    your pickles can run any code.
    """

    def __init__(
        self,
        bundle: Bundle,
        names: Sequence[str],
        threshold: float | None,
        truncation: TooLong | None = None,
    ) -> None:
        manifest = bundle.manifest
        text = manifest.text
        if text is None and truncation is not None:
            raise InvalidInputError(
                f"truncation is {truncation!r}; allowed: None, as {bundle.folder} takes ids alone"
            )
        encoder = None if text is None else bundle.encoder(truncation)
        super().__init__(manifest.signature, manifest.decision, threshold, encoder)
        self._truncation = truncation
        self._tokenizer = bundle.read(text.file) if text is not None and text.file else b""
        self.manifest = manifest
        self._folder = str(bundle.folder)
        self._models = {name: bundle.read(name) for name in names}
        # Not by `_open`: these bytes have just been checked, or are being published.
        self._hold(self._load)

    @property
    def _title(self) -> str:
        return f"{type(self).__name__} {self._folder}"

    def close(self) -> None:
        """Give the engine and the model's bytes back; see `Classifier.close`."""
        super().close()
        self._models = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_encoder": None}

    def _open(self) -> Run:
        text = self.manifest.text
        file = None if text is None else text.file
        for name, data in [*self._models.items(), *([(file, self._tokenizer)] if file else [])]:
            if FileRecord.of(data) != self.manifest.files.get(name):
                raise BundleError(
                    f"{self._folder}/{name} was changed after it was published: "
                    f"its size or SHA-256 is not the one in {MANIFEST}"
                )
        if text is not None and self._encoder is None:  # this is a copy
            where = f"{self._folder}/{file or MANIFEST}"
            self._encoder = encoder_of(self.manifest, self._tokenizer, where, self._truncation)
        return self._load()

    @abstractmethod
    def _load(self) -> Run:
        """Open an engine on `self._models`.

        Raises:
            BundleError: the engine does not load it.
        """


def opened_with(
    bundle: str | Path | Bundle, names: Sequence[str], public_key: str | Path | None
) -> Bundle:
    """A bundle with the files that a classifier runs, as far as they are there.

    Raises:
        BundleError: one of them was changed, or the bundle is not signed with that key.
    """
    if not isinstance(bundle, Bundle):
        return open_parts(bundle, [*names, *TOKENIZERS], public_key=public_key)
    if public_key is not None:
        bundle.check_signature(public_key)
    return bundle


def check_threads(num_threads: int | None) -> None:
    """Check how many threads are asked for; None leaves it to the machine.

    Raises:
        InvalidInputError: none that a call may have.
    """
    if num_threads is not None and (
        type(num_threads) is not int or not 1 <= num_threads <= _MOST_THREADS
    ):
        raise InvalidInputError(f"num_threads is {num_threads!r}; allowed: 1 to {_MOST_THREADS}")


def to_be_refused(signature: Signature) -> list[list[int]]:
    """Rows that a guarded engine refuses, and that do no harm, if wrongly, where it has no guards.

    An empty input is not among them: it would end this process there.
    """
    shortest, last = signature.min_length, signature.vocab_size - 1
    bad = [[outside] + [last] * (shortest - 1) for outside in (-1, last + 1)]
    bad.append([last] * (signature.max_length + 1))
    if shortest > 1:
        bad.append([last] * (shortest - 1))
    if signature.pad_id is not None:
        bad.append([signature.pad_id] * shortest)
    return bad


def in_chunks(run: Run) -> Run:
    """Give an engine a batch of any number of rows in pieces of bounded size, one by one."""
    run = finished_before_exit(run)

    def run_all(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        rows, length = ids.shape
        chunks = count_chunks(rows, largest_chunk(length))
        if chunks == 1:
            return run(ids)
        return np.concatenate([run(ids[part]) for part in cut(rows, chunks)])

    return run_all


def check_finite(logits: NDArray[np.float32], per_token: bool) -> None:
    """Refuse infinity and NaN, which would otherwise become some label.

    The sum of a few float32 numbers in Python's double precision cannot overflow: it is finite
    exactly where each of them is.

    Raises:
        PredictionError: naming the first.
    """
    few = logits.size <= 32  # then Python's own numbers are looked through sooner than numpy's
    if isfinite(sum(logits.ravel().tolist())) if few else np.isfinite(logits).all():
        return
    row, *place = (int(index) for index in np.argwhere(~np.isfinite(logits))[0])
    axes = ("column", "class") if per_token else ("class",)
    which = "".join(f" of {axis} {index}" for axis, index in zip(axes, place, strict=False))
    raise PredictionError(
        f"the logit{which} is {logits[(row, *place)]}; an answer needs finite numbers", row=row
    )
