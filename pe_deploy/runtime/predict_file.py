"""Label a file of any size, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pe_deploy.data import open_rows
from pe_deploy.data.lists import type_of
from pe_deploy.errors import DataError, InvalidInputError, PredictionError
from pe_deploy.runtime.answer_columns import answer_columns
from pe_deploy.runtime.classifier import Classifier
from pe_deploy.runtime.validation import check_lengths
from pe_deploy.storage.atomic import replacing


def predict_file(
    classifier: Classifier,
    source: Path,
    output: Path,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Write a file's rows, in their order, with the columns of `answer_columns` added.

    A file that has a column of that name keeps it; the added one is then called predicted_label,
    and so on.

    Args:
        classifier: what answers for the rows.
        source: a `.csv`, `.jsonl`, `.parquet` or `.npz` file.
        output: the file to write, of the same suffix; it appears whole or not at all.
        progress: called with the share of the file that is done, 0 to 1.

    Returns:
        The number of rows.

    Raises:
        DataError: the file cannot be read, or holds a row that the model does not take or for
            which it has no finite answer.
        MissingDependencyError: the format needs pyarrow, and it is not installed.
    """
    columns = {name: type_of(column) for name, column in answer_columns(classifier, []).items()}
    count = 0
    first_length: int | None = None
    with (
        open_rows(source) as reader,
        replacing(output) as temporary,
        reader.writer(temporary, columns) as write,
    ):
        for chunk in reader:
            lengths = np.diff(chunk.offsets)
            if first_length is None:
                first_length = int(lengths[0])
            try:
                # Over the whole file, so that an answer does not hang on where chunks end.
                check_lengths(lengths, first_length, "the first row", classifier.signature)
                added = answer_columns(classifier, chunk.rows())
            except (InvalidInputError, PredictionError) as error:
                row = "" if error.row is None else f"row {chunk.first_row + error.row}: "
                raise DataError(f"{source}: {row}{error.reason}") from error
            write(chunk, added)
            count += len(chunk)
            if progress is not None:
                progress(chunk.done)
    return count
