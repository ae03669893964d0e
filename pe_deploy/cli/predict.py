"""`pe-deploy predict`: label a file of any size, in constant memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pe_deploy.atomic import replacing
from pe_deploy.cli.console import out, progress_bar
from pe_deploy.cli.options import PUBLIC_KEY
from pe_deploy.config import Signature
from pe_deploy.data import Chunk, open_rows
from pe_deploy.errors import DataError, InvalidInputError, PredictionError
from pe_deploy.runtime import OnnxClassifier


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A .csv, .jsonl, .parquet or .npz file.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where to write; same suffix as INPUT.")
    ],
    threads: Annotated[
        int | None, typer.Option(help="Threads of onnxruntime; by default, what it may use.")
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Write INPUT's rows, in their order, with a label and its probability added.

    A file that has a column of that name keeps it; the added one is then called predicted_label
    or predicted_probability.
    """
    started = time.perf_counter()
    with OnnxClassifier(bundle, num_threads=threads, public_key=public_key) as classifier:
        count = _predict(classifier, source, output)
    seconds = time.perf_counter() - started
    out.print(f"{count:,} rows in {seconds:.1f} s → {output}", markup=False, soft_wrap=True)


def _predict(classifier: OnnxClassifier, source: Path, output: Path) -> int:
    """Label the file, and say how many rows it has."""
    columns = {"label": np.array(classifier.labels).dtype, "probability": np.dtype(np.float64)}
    count = 0
    first_length: int | None = None
    with (
        open_rows(source) as reader,
        replacing(output) as temporary,
        reader.writer(temporary, columns) as write,
        progress_bar() as progress,
    ):
        task = progress.add_task(f"predict {source.name}", total=1.0)
        for chunk in reader:
            lengths = np.diff(chunk.offsets)
            if first_length is None:
                first_length = int(lengths[0])
            try:
                _check_lengths(lengths, first_length, classifier.signature)
                labels, probabilities = classifier.predict_with_probability(chunk.rows())
            except (InvalidInputError, PredictionError) as error:
                raise _in_file(error, source, chunk) from error
            write(chunk, {"label": labels, "probability": probabilities})
            count += len(chunk)
            progress.update(task, completed=chunk.done)
    return count


def _check_lengths(lengths: np.ndarray, first_length: int, signature: Signature) -> None:
    """Judge lengths over the whole file, so that an answer does not hang on where chunks end."""
    wrong = (lengths < 1) | (lengths > signature.max_length)
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidInputError(
            f"has {lengths[row]} ids; allowed: 1 to {signature.max_length}", row=row
        )
    odd = lengths != first_length
    if signature.pad_id is None and odd.any():
        row = int(odd.argmax())
        raise InvalidInputError(
            f"has {lengths[row]} ids where the first row has {first_length}; "
            "rows of differing length need a model with a pad_id",
            row=row,
        )


def _in_file(error: InvalidInputError | PredictionError, source: Path, chunk: Chunk) -> DataError:
    """The error with the row's number in the file."""
    where = "" if error.row is None else f"row {chunk.first_row + error.row}: "
    return DataError(f"{source}: {where}{error.reason}")
