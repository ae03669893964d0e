"""Label a file of any size, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data import Chunk, Columns, open_rows
from pe_deploy.data.lists import Column, ColumnType, Full, Sparse, joined, type_of
from pe_deploy.data.reader import RowReader
from pe_deploy.data.suffix import suffix_of
from pe_deploy.errors import DataError, InvalidInputError, PredictionError
from pe_deploy.runtime.answer_columns import answer_columns
from pe_deploy.runtime.classifier import Classifier
from pe_deploy.runtime.validation import check_lengths
from pe_deploy.storage.atomic import replacing

OnError = Literal["fail", "null"]
"""What a row that gets no answer does: it refuses the file, or it has null for an answer."""

ERROR = "error"


class Predicted(NamedTuple):
    """What was written.

    Attributes:
        rows: how many.
        errors: how many of them have no answer.
    """

    rows: int
    errors: int


def predict_file(
    classifier: Classifier,
    source: Path,
    output: Path,
    progress: Callable[[float], None] | None = None,
    *,
    columns: Columns = Columns(),  # noqa: B008 (it is frozen)
    delimiter: str | None = None,
    on_error: OnError = "fail",
) -> Predicted:
    """Write a file's rows, in their order, with the columns of `answer_columns` added.

    A file that has a column of that name keeps it; the added one is then called predicted_label,
    and so on.

    Args:
        classifier: what answers for the rows.
        source: a file that `open_rows` takes.
        output: the file to write, of the same suffix; of a `.txt` or `.npy` file, which has no
            columns, a `.csv`, `.tsv` or `.jsonl` file. It appears whole or not at all.
        progress: called with the share of the file that is done, 0 to 1.
        columns: the names of the columns with ids or texts, where these are not the usual ones.
        delimiter: what separates the cells of a CSV file, where its header does not show it.
        on_error: with `"null"` a row whose ids or text cannot be read, or that the model does not
            take or has no finite answer for, has null in the added columns, and the reason in one
            that is called `error`.

    Raises:
        DataError: the file cannot be read; or, with `"fail"`, one of its rows has no answer.
        MissingDependencyError: the format needs pyarrow, and it is not installed.
    """
    tolerant = on_error == "null"
    with open_rows(source, columns=columns, delimiter=delimiter, tolerant=tolerant) as reader:
        return predict_rows(classifier, reader, output, progress)


def predict_rows(
    classifier: Classifier,
    reader: RowReader,
    output: Path,
    progress: Callable[[float], None] | None = None,
) -> Predicted:
    """What `predict_file` does with the rows of a reader.

    Raises:
        DataError: as there.
    """
    kinds = added_types(classifier, reader.how.tolerant)
    rows = errors = 0
    with (
        replacing(output) as temporary,
        reader.writer(temporary, kinds, suffix_of(output)) as write,
    ):
        for chunk, added in answers(classifier, reader):
            write(chunk, added)
            rows += len(chunk)
            if isinstance(failed := added.get(ERROR), Sparse):
                errors += int(failed.present.sum())
            if progress is not None:
                progress(chunk.done)
    return Predicted(rows, errors)


def added_types(classifier: Classifier, tolerant: bool) -> dict[str, ColumnType]:
    """The names and types of the columns that `answers` gives."""
    kinds: dict[str, ColumnType] = {
        name: type_of(column) for name, column in answer_columns(classifier, []).items()
    }
    if tolerant:
        kinds[ERROR] = np.dtype(str)
    return kinds


def answers(
    classifier: Classifier, reader: RowReader
) -> Iterator[tuple[Chunk, Mapping[str, Column]]]:
    """The chunks of a reader, each with the columns of `answer_columns` for it.

    Of a tolerant reader there is a column `error`, too.

    Raises:
        DataError: the rows cannot be read, or one of them has no answer and the reader is not
            tolerant; or they are texts, and the model takes ids alone.
    """
    if reader.of_texts and not classifier.takes_text:
        raise DataError(
            f"{reader.path}: column {reader.column} holds text, and this model takes ids: it has "
            "no tokenizer"
        )
    judge = _Judge(classifier, reader)
    for chunk in reader:
        yield chunk, judge.tolerantly(chunk) if reader.how.tolerant else judge.strictly(chunk)


class _Judge:
    """Asks a classifier, and names a row that gets no answer by its place in the file."""

    def __init__(self, classifier: Classifier, reader: RowReader) -> None:
        self._classifier = classifier
        self._path = reader.path
        self._first_length: int | None = None

    def strictly(self, chunk: Chunk) -> Mapping[str, Column]:
        """The answers for a chunk, or a DataError."""
        try:
            self._check_lengths(chunk, np.diff(chunk.offsets))
            return answer_columns(self._classifier, chunk.given())
        except (InvalidInputError, PredictionError) as error:
            row = "" if error.row is None else f"row {chunk.first_row + error.row}: "
            raise DataError(f"{self._path}: {row}{error.reason}") from error

    def tolerantly(self, chunk: Chunk) -> Mapping[str, Column]:
        """The answers for the rows that get one, and for the others the reasons."""
        errors = dict(chunk.errors)
        readable = [index for index in range(len(chunk)) if index not in errors]
        parts = list(self._parts(chunk, readable, errors))
        present = np.ones(len(chunk), bool)
        present[list(errors)] = False
        answered = _joined(parts or [answer_columns(self._classifier, [])])
        reasons = np.array([errors[index] for index in sorted(errors)], str)
        return {
            **{name: Sparse(column, present) for name, column in answered.items()},
            ERROR: Sparse(reasons, ~present),
        }

    def _parts(
        self, chunk: Chunk, indices: list[int], errors: dict[int, str]
    ) -> Iterator[dict[str, Full]]:
        """The answers of all that have one; whatever is refused is halved until a row is."""
        if not indices:
            return
        try:
            self._check_lengths(chunk, np.diff(chunk.offsets)[indices])
            all_of_it = len(indices) == len(chunk)
            given = chunk.given() if all_of_it else chunk.some(indices)
            yield answer_columns(self._classifier, given)
        except (InvalidInputError, PredictionError) as error:
            if isinstance(error, PredictionError) and error.row is None:  # the engine fails
                raise DataError(f"{self._path}: {error.reason}") from error
            if len(indices) == 1:
                errors[indices[0]] = error.reason
                return
            middle = len(indices) // 2
            yield from self._parts(chunk, indices[:middle], errors)
            yield from self._parts(chunk, indices[middle:], errors)

    def _check_lengths(self, chunk: Chunk, lengths: NDArray[np.int64]) -> None:
        """Over the whole file, so that an answer does not hang on where chunks end."""
        if chunk.texts is not None:
            return
        signature = self._classifier.signature
        first = int(lengths[0]) if self._first_length is None else self._first_length
        check_lengths(lengths, first, "the first row", signature)
        self._first_length = first


def _joined(parts: list[dict[str, Full]]) -> dict[str, Full]:
    return {name: joined([part[name] for part in parts]) for name in parts[0]}
